"""Which reference belongs to a result: by their names, and for MSEC and SICE by how these are published."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from relit.data.files import Matches, find_folder, match, photos_in, same_name
from relit.data.layouts.msec import EXPERTS, EXPOSURE_LABELS
from relit.data.photo_tree import photos_below
from relit.enhance_plan import COMPARISON
from relit.errors import ConfigurationError
from relit.protocols import Protocol

LABELS = {"under": ("low", "under"), "over": ("over",)}
"""What may be wrong with an input, and the folders that SICE's are in."""


@dataclass(frozen=True)
class Case:
    """One result, and what it is compared with.

    Attributes:
        result: the file.
        name: its path below the folder of results.
        label: what was wrong with the input; empty where that is not known.
        references: by expert; by the empty name where there is one only.
    """

    result: Path
    name: str
    label: str = ""
    references: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Cases:
    """The results in a folder.

    Attributes:
        found: by a key that another method's result for the same photograph has, too.
        unmatched: files without a partner, and why.
        faults: what is wrong with the folder as a whole.
    """

    found: dict[str, Case]
    unmatched: list[tuple[Path, str]]
    faults: list[str] = field(default_factory=list)


def pair_results(protocol: Protocol, results: Path, references: Path | None) -> Cases:
    """Every result in ``results`` or below it with its reference.

    * By names: partners have the same name, but for extension and case, in folders of the same names.
    * ``msec``: the result ``a0001-name_N1.5.png`` belongs to ``a0001-name.jpg``; ``references`` holds one
      expert's photographs, or the folders ``expert_a_testing_set`` to ``expert_e_testing_set``.
    * ``sice``: results are in ``low`` (or ``under``) and ``over``; references in ``references`` itself, in
      ``mid`` or ``gt`` in it, or in folders named as those of the results.
    * Without ``references``: every photograph.

    Raises:
        ConfigurationError: a folder is missing or empty, or nothing fits together.
    """
    paths = _without_comparisons(photos_below(results))
    if references is None:
        return _unreferenced(paths, results)
    pair = {"names": _by_name, "msec": _of_experts, "sice": _by_exposure}[protocol.pairing]
    cases = pair(paths, results, references)
    if not cases.found:
        raise ConfigurationError(
            f"{results}: no result has the name of a reference in {references}. {_rule(protocol)}"
            + "".join(f" For one, {path}: {reason}." for path, reason in cases.unmatched[:1])
        )
    return cases


def _without_comparisons(paths: Sequence[Path]) -> list[Path]:
    """Not what ``relit enhance --compare`` writes beside a result: ``a-compare.png`` where ``a.png`` is."""
    there = set(paths)
    return [
        path
        for path in paths
        if not path.stem.endswith(COMPARISON)
        or path.with_stem(path.stem.removesuffix(COMPARISON)) not in there
    ]


def _rule(protocol: Protocol) -> str:
    if protocol.pairing == "msec":
        return "A result is named like its input, a0001-name_N1.5, the reference a0001-name."
    if protocol.pairing == "sice":
        return "Results are in the folders low (or under) and over, and have the names of the references."
    return "Partners have the same name, but for extension and case, in folders of the same names."


def _unreferenced(paths: Sequence[Path], results: Path) -> Cases:
    cases = Cases({}, [])
    for path in paths:
        key = same_name(path.relative_to(results).with_suffix("").as_posix())
        _add(cases, key, Case(path, path.relative_to(results).as_posix()))
    return cases


def _by_name(paths: Sequence[Path], results: Path, references: Path) -> Cases:
    matches = Matches([], [])
    by_folder = [_by_folder(paths, results), _by_folder(photos_below(references), references)]
    for folder in sorted({*by_folder[0], *by_folder[1]}):
        found = match(*(photos[folder] for photos in by_folder))
        matches.pairs.extend(found.pairs)
        matches.unmatched.extend(found.unmatched)
    return _cases(matches, results)


def _by_folder(paths: Sequence[Path], base: Path) -> defaultdict[str, list[Path]]:
    folders: defaultdict[str, list[Path]] = defaultdict(list)
    for path in paths:
        folders[same_name(path.parent.relative_to(base).as_posix())].append(path)
    return folders


def _by_exposure(paths: Sequence[Path], results: Path, references: Path) -> Cases:
    _check_folder(references)
    cases, by_folder = Cases({}, []), _by_folder(paths, results)
    for label, names in LABELS.items():
        found = [path for name in names for path in by_folder.pop(name, [])]
        if not found:
            cases.faults.append(
                f"no {label}-exposed results in the folder {' or '.join(names)}: sice is the mean over both"
            )
            continue
        paired = _cases(match(found, photos_in(_exposure_references(references, names))), results, label)
        cases.found.update(paired.found)
        cases.unmatched.extend(paired.unmatched)
    stray = (path for folder in by_folder.values() for path in folder)
    cases.unmatched.extend((path, "not in a folder low, under or over") for path in stray)
    return cases


def _exposure_references(references: Path, names: Sequence[str]) -> Path:
    """The middle of the brackets first: beside it, the folders low and over hold the inputs."""
    folders = (find_folder(references, name) for name in ("mid", "gt", *names))
    return next((folder for folder in folders if folder.is_dir()), references)


def _of_experts(paths: Sequence[Path], results: Path, references: Path) -> Cases:
    """Every exposure of a scene with the references of all experts."""
    _check_folder(references)
    cases, exposures = Cases({}, []), defaultdict[str, set[str]](set)
    by_expert = {expert: _by_stem(folder) for expert, folder in _expert_folders(references).items()}
    for path in paths:
        scene, _, exposure = path.stem.rpartition("_")
        targets = {expert: stems.get(same_name(scene)) for expert, stems in by_expert.items()}
        if exposure.upper() not in EXPOSURE_LABELS:
            cases.unmatched.append(
                (path, f"does not end in an exposure, one of _{', _'.join(EXPOSURE_LABELS)}")
            )
        elif lacking := [expert for expert, target in targets.items() if target is None]:
            of = f" of expert {', '.join(lacking).upper()}" if any(lacking) else ""
            cases.unmatched.append((path, f"no reference{of}"))
        else:
            exposures[same_name(scene)].add(exposure.upper())
            found = {expert: target for expert, target in targets.items() if target is not None}
            label = EXPOSURE_LABELS[exposure.upper()]
            _add(cases, same_name(path.stem), Case(path, path.relative_to(results).as_posix(), label, found))
    for scene, reference in by_expert[headline(by_expert)].items():
        missing = [exposure for exposure in EXPOSURE_LABELS if exposure not in exposures[scene]]
        if missing:
            cases.unmatched.append((reference, f"no result of exposure {', '.join(missing)}"))
    return cases


def headline(by_expert: Mapping[str, object]) -> str:
    """The expert whose references the figure of ``msec`` is of: C, or the only one there is."""
    return "c" if "c" in by_expert else next(iter(by_expert))


def _expert_folders(references: Path) -> dict[str, Path]:
    folders = {expert: find_folder(references, f"expert_{expert}_testing_set") for expert in EXPERTS}
    folders = {expert: folder for expert, folder in folders.items() if folder.is_dir()}
    if folders and "c" not in folders:
        raise ConfigurationError(
            f"{references}: holds expert_{next(iter(folders))}_testing_set, but not that of expert C, whose "
            "figures msec names. Give one expert's folder itself to compare with that one."
        )
    return folders or {"": references}


def _by_stem(folder: Path) -> dict[str, Path]:
    return {same_name(path.stem): path for path in photos_in(folder)}


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ConfigurationError(f"{folder}: {what}. Name a folder of photographs.")


def _cases(matches: Matches, results: Path, label: str = "") -> Cases:
    """Pairs as cases; of several results for one reference none is taken."""
    cases = Cases({}, [(path, reason.replace("input", "result")) for path, reason in matches.unmatched])
    times = Counter(reference for _, reference in matches.pairs)
    for result, reference in matches.pairs:
        if times[reference] > 1:
            cases.unmatched.append((result, f"one of {times[reference]} results for {reference}"))
            continue
        name = result.relative_to(results).as_posix()
        _add(cases, f"{label}/{reference}", Case(result, name, label, {"": reference}))
    return cases


def _add(cases: Cases, key: str, case: Case) -> None:
    if key in cases.found:
        cases.unmatched.append((case.result, f"named like {cases.found[key].result}"))
    else:
        cases.found[key] = case

"""Results of several methods measured on the same photographs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor
from tqdm import tqdm

from relit.data.decoding import UnusablePhoto
from relit.data.duplicates import counted_once
from relit.data.photo import read_photo, resize_photo
from relit.data.reader import Resize
from relit.data.rows import Row
from relit.data.sizes import size_mismatch
from relit.errors import ConfigurationError
from relit.measurement import Figures, Measurement
from relit.pairing import LABELS, Case, headline, pair_results
from relit.protocols import Protocol

Read = Callable[[Path], Tensor]


@dataclass(frozen=True)
class Score:
    """Figures of one result.

    Attributes:
        name: its path below the folder of results.
        label: what was wrong with the input; empty where that is not known.
        expert: whose reference it is compared with; empty where there is one only.
        figures: by metric. A PSNR is infinite where the result equals its reference.
    """

    name: str
    label: str
    expert: str
    figures: Figures


@dataclass
class MethodScores:
    """Figures of one method, and what of it was not compared.

    Attributes:
        folder: its results.
        scores: by image, and within one by expert.
        unmatched: files without a partner, and why.
        left_out: files that can't be read or compared, and why.
        faults: what is wrong with the folder as a whole.
        not_common: results that another method does not have, or that were left out there.
    """

    folder: Path
    scores: list[Score] = field(default_factory=list)
    unmatched: list[tuple[Path, str]] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    not_common: int = 0

    @property
    def experts(self) -> list[str]:
        """In order; the empty name alone where there is one reference only."""
        return list(dict.fromkeys(score.expert for score in self.scores))

    @property
    def headline(self) -> list[Score]:
        """Those that the method's figures are means of: one for each image."""
        expert = headline(dict.fromkeys(self.experts))
        return [score for score in self.scores if score.expert == expert]

    def groups(self) -> dict[str, Figures]:
        """Means over all images, and over those of each label; by each expert, and their mean."""
        scores, experts = self.headline, self.experts
        groups = {"all": means(score.figures for score in scores)}
        for label in LABELS:
            if any(score.label == label for score in scores):
                groups[label] = means(score.figures for score in scores if score.label == label)
        if len(experts) > 1:
            by_expert = {
                f"expert {expert}": means(score.figures for score in self.scores if score.expert == expert)
                for expert in experts
            }
            groups |= by_expert | {f"mean of {', '.join(experts)}": means(by_expert.values())}
        return groups


@dataclass(frozen=True)
class Comparison:
    """Figures of every method on the images that all of them have.

    Attributes:
        protocol: by which they were measured.
        metrics: those that were.
        unavailable: those that could not be, and why.
        references: the folder of references, or None.
        methods: by name.
        notes: what a reader of the figures must know besides.
    """

    protocol: Protocol
    metrics: Sequence[str]
    unavailable: Mapping[str, str]
    references: Path | None
    methods: Mapping[str, MethodScores]
    notes: Sequence[str]

    @property
    def images(self) -> int:
        """How many were compared."""
        return len(next(iter(self.methods.values())).headline)

    @property
    def complete(self) -> bool:
        """Whether every file had its partner and could be compared."""
        return not any(
            method.unmatched or method.left_out or method.faults or method.not_common
            for method in self.methods.values()
        )


def means(figures: Iterable[Figures]) -> Figures:
    """Of each metric over images; empty where there is none."""
    rows = list(figures)
    return {name: fmean(row[name] for row in rows) for name in (rows[0] if rows else ())}


def compare(
    folders: Mapping[str, Path], references: Path | None, measurement: Measurement, progress: bool = False
) -> Comparison:
    """Measure the results in ``folders`` on the photographs that all of them have.

    A reference that is a pixel or two larger or smaller is resized to its result. A file that can't be read
    or compared leaves its photograph out for all.

    Args:
        folders: of results, by the name of the method.
        references: another one; None where no metric needs them.
        measurement: what is measured.
        progress: whether a bar on the standard error stream tells how far this is.

    Raises:
        ConfigurationError: a folder is missing or empty, or nothing can be compared.
    """
    protocol = measurement.protocol
    paired = {name: pair_results(protocol, folder, references) for name, folder in folders.items()}
    methods = {
        name: MethodScores(folders[name], unmatched=cases.unmatched, faults=cases.faults)
        for name, cases in paired.items()
    }
    first, *others = (cases.found for cases in paired.values())
    common = [key for key in first if all(key in other for other in others)]
    keys = common
    notes: list[str] = []
    if protocol.copies_once:
        keys, notes = _without_copies(common, [cases.found for cases in paired.values()])
    read = _reader(protocol)
    # five exposures in a row have the same references
    read_reference = lru_cache(maxsize=8)(read)
    compared = set()
    for key in tqdm(keys, "comparing", unit=" images", disable=not progress):
        cases = {name: found.found[key] for name, found in paired.items()}
        scores = _measure(cases, methods, measurement, read, read_reference)
        if scores is not None:
            compared.add(key)
            for name, found in scores.items():
                methods[name].scores += found
    if not compared:
        reasons = [f"{path}: {reason}" for method in methods.values() for path, reason in method.left_out]
        raise ConfigurationError(
            f"nothing can be compared: {reasons[0] if reasons else 'no photograph is in all folders'}."
        )
    for name, method in methods.items():
        method.not_common = len(paired[name].found) - len(common)
        method.not_common += len(keys) - len(compared) - len(method.left_out)
    return Comparison(protocol, measurement.metrics, measurement.unavailable, references, methods, notes)


def _without_copies(
    keys: Sequence[str], methods: Sequence[Mapping[str, Case]]
) -> tuple[list[str], list[str]]:
    """``keys`` of what is to be compared, and what is to be said of those that are left out.

    What is a copy for one method is one for all: they are compared on the same photographs.
    """
    kept = set(keys)
    notes: list[str] = []
    for cases in methods:
        rows = [Row(cases[key].result, _only(cases[key]), "test", "", key) for key in keys]
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            kept &= {row.scene for row in counted_once(rows, "results")}
        notes = notes or [str(warning.message) for warning in said]
    return [key for key in keys if key in kept], notes


def _only(case: Case) -> Path | None:
    return next(iter(case.references.values()), None)


def _reader(protocol: Protocol) -> Read:
    resize = Resize(long_side=protocol.long_side)
    return lambda path: resize(read_photo(path))


def _measure(
    cases: Mapping[str, Case],
    methods: Mapping[str, MethodScores],
    measurement: Measurement,
    read: Read,
    read_reference: Read,
) -> dict[str, list[Score]] | None:
    """Every method's figures of one photograph; None, and the fault noted, where one can't be measured."""
    scores: dict[str, list[Score]] = {}
    for name, case in cases.items():
        try:
            scores[name] = _scores(case, measurement, read, read_reference)
        except UnusablePhoto as error:
            methods[name].left_out.append((error.path, error.reason or str(error)))
        except ValueError as error:  # too small for a metric, or the sizes differ
            methods[name].left_out.append((case.result, str(error)))
    return scores if len(scores) == len(cases) else None


def _scores(case: Case, measurement: Measurement, read: Read, read_reference: Read) -> list[Score]:
    result = read(case.result)
    if not case.references:
        return [Score(case.name, case.label, "", measurement(_image(result)))]
    scores = []
    for expert, path in case.references.items():
        reference = read_reference(path)
        height, width = result.shape[1:]
        mismatch = size_mismatch((height, width), (reference.shape[1], reference.shape[2]))
        if mismatch is not None:
            raise ValueError(f"{mismatch.replace('input', 'result')} ({path})")
        reference = resize_photo(reference, (height, width))
        scores.append(Score(case.name, case.label, expert, measurement(_image(result), _image(reference))))
    return scores


def _image(photo: Tensor) -> Tensor:
    """uint8 (3, H, W) as (1, 3, H, W) in [0, 1]."""
    return photo[None].to(torch.float32) / 255

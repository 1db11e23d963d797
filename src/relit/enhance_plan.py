"""Which photographs ``relit enhance`` reads, and which files it writes for them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from relit.data.few import few
from relit.errors import ConfigurationError
from relit.photo_file.formats import format_of, named_for

COMPARISON = "-compare"
"""Behind the name of a result: the photograph beside it."""


@dataclass(frozen=True)
class Planned:
    """One photograph and what becomes of it.

    Attributes:
        photo: the file that is read.
        result: the file that is written.
        format: of both files that are written, one of :data:`~relit.photo_file.formats.FORMATS`.
        comparison: the file for before | after, if one is wanted.
    """

    photo: Path
    result: Path
    format: str
    comparison: Path | None = None

    @property
    def written(self) -> list[Path]:
        return [self.result] if self.comparison is None else [self.comparison, self.result]


def plan_results(
    named: Sequence[Path], output: Path, format_name: str = "same", compare: bool = False
) -> list[Planned]:
    """The file that each result goes to, and its photograph.

    A photograph that is named goes to ``output`` itself; one that is found in a folder, or by a pattern, lies
    below ``output`` as it does below that folder, or below the folder that the pattern begins with.
    ``output`` is not searched where it lies in such a folder.

    Args:
        named: photographs, folders, and patterns in which ``*``, ``?``, ``[...]`` and ``**`` (any folders)
            have the meaning that they have in a shell.
        output: the folder for results.
        format_name: ``same`` keeps the format of each photograph.
        compare: whether there are comparisons, named ``NAME-compare``, in the format of the result.

    Raises:
        ConfigurationError: ``output`` is the name of a photograph, a photograph is missing, two would have
            the same result, or one would be replaced by its own result.
    """
    from relit.data.files import EXTENSIONS, same_name

    if output.suffix.lower() in EXTENSIONS and not output.is_dir():
        raise ConfigurationError(f"-o {output}: is the name of a file. Give a folder for the results.")

    planned: dict[str, Planned] = {}
    for base, photo in _found(named, output):
        kind = format_of(photo) if format_name == "same" else format_name
        result = named_for(output / photo.relative_to(base), kind)
        comparison = result.with_name(f"{result.stem}{COMPARISON}{result.suffix}") if compare else None
        one = Planned(photo, result, kind, comparison)
        for file in one.written:
            # some disks take names that differ in case for the same
            other = planned.setdefault(same_name(str(file)), one).photo
            if other.resolve() != photo.resolve():
                raise ConfigurationError(
                    f"{other} and {photo}: both results would be {file}. Rename one, or enhance them into "
                    "two folders."
                )
    results = list({one.result: one for one in planned.values()}.values())
    originals = {one.photo.resolve() for one in results}
    for file in (file for one in results for file in one.written):
        if file.resolve() in originals:
            raise ConfigurationError(
                f"{file}: is itself a photograph to enhance. Give another folder with -o."
            )
    return results


def _found(named: Sequence[Path], output: Path) -> Iterator[tuple[Path, Path]]:
    """Each photograph, and the folder below which its place is kept."""
    from relit.data.photo_tree import photos_below

    for name in named:
        if name.is_dir():
            yield from ((name, photo) for photo in photos_below(name, but=output))
        elif os.path.lexists(name):
            yield name.parent, name
        elif glob.has_magic(str(name)):
            base = _before_magic(name)
            yield from ((base, photo) for photo in _matching(name, base, output))
        else:
            raise ConfigurationError(f"{name}: no such photograph or folder.")


def _before_magic(pattern: Path) -> Path:
    return next(folder for folder in pattern.parents if not glob.has_magic(str(folder)))


def _matching(pattern: Path, base: Path, but: Path) -> list[Path]:
    from relit.data.files import is_photo

    matches = glob.glob(str(pattern), recursive=True)  # noqa: PTH207 (Path.glob finds what is hidden, too)
    found = sorted(path for path in map(Path, matches) if is_photo(path))
    inside, left_out = base.resolve(), but.resolve()
    if left_out != inside and left_out.is_relative_to(inside):
        found = [path for path in found if not path.resolve().is_relative_to(left_out)]
    if not found:
        raise ConfigurationError(f"{pattern}: no photograph matches this pattern.")
    return found


def without_existing(planned: Sequence[Planned], resume: bool, force: bool) -> list[Planned]:
    """What is left to do, found out before the work: results that exist are skipped, replaced, or refused.

    A file that exists is whole, and a comparison is written before its result.

    Args:
        planned: all results.
        resume: skip photographs of which all that is wanted exists.
        force: replace files that exist.

    Raises:
        ConfigurationError: files exist and neither is allowed, or a folder stands in the place of one.
        OSError: a file can't be written.
    """
    from relit.atomic import check_writable

    if resume:
        planned = [one for one in planned if not all(os.path.lexists(file) for file in one.written)]
    files = [file for one in planned for file in one.written]
    exist = [str(file) for file in files if os.path.lexists(file)]
    if exist and not (force or resume):
        raise ConfigurationError(
            f"{few(exist)}: {'exists' if len(exist) == 1 else 'exist'}. Give another folder with -o, "
            "--resume to skip, or --force to replace."
        )
    if folder := next((file for file in files if file.is_dir()), None):
        raise ConfigurationError(f"{folder}: is a folder, where a result would go. Give another one with -o.")
    for file in {file.parent: file for file in files}.values():
        check_writable(file)
    return list(planned)

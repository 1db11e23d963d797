"""Scenes that stand in more than one split: a test on them flatters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from relit.data.duplicates import originals
from relit.data.left_out import leave_out
from relit.data.rows import Finding, Row, Split

# The splits whose scenes those of a split must not show.
_LATER: dict[Split, tuple[Split, ...]] = {"train": ("val", "test"), "val": ("test",), "test": ()}


class Leak(NamedTuple):
    """A row that shows a scene of a later split, and how that is known."""

    row: Row
    reason: str


def leaks(rows: Sequence[Row], original: Mapping[Path, Path]) -> list[Leak]:
    """Rows that show a scene of a later split, by its name or because a file is the same as one there.

    Training comes before validation, and that before test.

    Args:
        rows: of all splits.
        original: from :func:`~relit.data.duplicates.originals`, of all their files.
    """
    scenes = {(row.split, row.scene) for row in rows}
    shown = {(row.split, content): path for row in rows for path, content in _contents(row, original)}
    found = []
    for row in rows:
        for later in _LATER[row.split]:
            same = [shown.get((later, content)) for _, content in _contents(row, original)]
            of = next((path for path in same if path), None)
            if (later, row.scene) in scenes:
                found.append(Leak(row, f"scene {row.scene} is in the {later} split, too"))
            elif of is not None:
                what = f"{of.parent.name}/{of.name} in the {later} split"
                found.append(Leak(row, f"it or its reference is the same as {what}"))
            else:
                continue
            break
    return found


def without_leaks(rows: Sequence[Row], key: str, strict: bool) -> list[Row]:
    """``rows`` without :func:`leaks`; one warning, or an error where ``strict``, names them."""
    found = leaks(rows, originals(file for row in rows for file in row.files))
    problems = [f"{leak.row.input.name} ({leak.reason})" for leak in found]
    leave_out(key, "show scenes of a later split", problems, len(rows), strict)
    gone = {leak.row for leak in found}
    return [row for row in rows if row not in gone]


def leak_findings(rows: Sequence[Row], original: Mapping[Path, Path]) -> list[Finding]:
    """:func:`leaks` as findings."""
    return [Finding("leak", str(leak.row.input), leak.reason) for leak in leaks(rows, original)]


def cross_leaks(
    learned: Sequence[Row], tested: Sequence[Row], original: Mapping[Path, Path], by_scene: bool
) -> Iterator[tuple[Split, list[str]]]:
    """Scenes of one data set's training and validation splits that are in the test split of another.

    Args:
        learned: rows of the one.
        tested: rows of the other.
        original: from :func:`~relit.data.duplicates.originals`, of the files of both.
        by_scene: whether both number their scenes alike; copies of files are found anyway.

    Returns: the split and its scenes, where there are any.
    """
    test = [row for row in tested if row.split == "test"]
    scenes = {row.scene for row in test if by_scene}
    contents = {content for row in test for _, content in _contents(row, original)}
    splits: tuple[Split, ...] = ("train", "val")
    for split in splits:
        shown = {
            row.scene
            for row in learned
            if row.split == split
            and (row.scene in scenes or any(content in contents for _, content in _contents(row, original)))
        }
        if shown:
            yield split, sorted(shown)


def _contents(row: Row, original: Mapping[Path, Path]) -> list[tuple[Path, Path]]:
    """The files of a row, each with the first of those that have the same content."""
    return [(path, original.get(path, path)) for path in row.files]

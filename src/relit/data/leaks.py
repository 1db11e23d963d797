"""Scenes that stand in more than one split: a test on them flatters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from relit.data.left_out import leave_out
from relit.data.rows import Finding, Row, Split

# The splits whose scenes those of a split must not show.
_LATER: dict[Split, tuple[Split, ...]] = {"train": ("val", "test"), "val": ("test",), "test": ()}
_NAMED = 5


def leaking(rows: Sequence[Row]) -> list[Row]:
    """Training and validation rows whose scene is in the test split, training rows also in validation's."""
    scenes = {(row.split, row.scene) for row in rows}
    return [row for row in rows if any((later, row.scene) in scenes for later in _LATER[row.split])]


def without_leaks(rows: Sequence[Row], key: str, strict: bool) -> list[Row]:
    """``rows`` without :func:`leaking` ones; one warning, or an error where ``strict``, names them."""
    leaks = leaking(rows)
    problems = [f"{row.input.name} (scene {row.scene})" for row in leaks]
    leave_out(key, "show scenes of a later split", problems, len(rows), strict)
    gone = set(leaks)
    return [row for row in rows if row not in gone]


def leak_findings(rows: Sequence[Row], original: Mapping[Path, Path]) -> list[Finding]:
    """Rows that show a scene of a later split, by its name or because a file is a copy of one there.

    Args:
        rows: of all splits.
        original: from :func:`~relit.data.duplicates.originals`, of all their files.
    """
    scenes = {(row.split, row.scene) for row in rows}
    copied = {(row.split, content): path for row in rows for path, content in _contents(row, original)}
    findings = []
    for row in rows:
        for later in _LATER[row.split]:
            copies = [copied.get((later, content)) for _, content in _contents(row, original)]
            of = next((path for path in copies if path), None)
            if (later, row.scene) in scenes:
                message = f"scene {row.scene} is in the {later} split, too"
            elif of is not None:
                message = f"it or its reference is a copy of {of.parent.name}/{of.name} in the {later} split"
            else:
                continue
            findings.append(Finding("leak", str(row.input), message))
    return findings


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


def named_scenes(scenes: Sequence[str]) -> str:
    """The first few of them, and how many more there are."""
    more = len(scenes) - _NAMED
    return ", ".join(scenes[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _contents(row: Row, original: Mapping[Path, Path]) -> list[tuple[Path, Path]]:
    """Those files of a row that have copies, each with what it is a copy of."""
    files = [path for path in (row.input, row.reference) if path is not None]
    return [(path, original[path]) for path in files if path in original]

"""Scenes that stand in more than one split: a test on them flatters."""

from __future__ import annotations

from collections.abc import Sequence

from relit.data.left_out import leave_out
from relit.data.rows import Row


def leaking(rows: Sequence[Row]) -> list[Row]:
    """Rows whose scene also stands in a later split: training before validation before test."""
    scenes = {split: {row.scene for row in rows if row.split == split} for split in ("val", "test")}
    return [
        row
        for row in rows
        if (row.split != "test" and row.scene in scenes["test"])
        or (row.split == "train" and row.scene in scenes["val"])
    ]


def without_leaks(rows: Sequence[Row], key: str, strict: bool) -> list[Row]:
    """``rows`` without :func:`leaking` ones; one warning, or an error where ``strict``, names them."""
    leaks = leaking(rows)
    problems = [f"{row.input.name} (scene {row.scene})" for row in leaks]
    leave_out(key, "show scenes of a later split", problems, len(rows), strict)
    gone = set(leaks)
    return [row for row in rows if row not in gone]

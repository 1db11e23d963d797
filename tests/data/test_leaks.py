"""Leaks: scenes of a later split, by number or by content, within a data set and across two."""

from __future__ import annotations

from pathlib import Path

import pytest

from relit.data.leaks import cross_leaks, leak_findings, leaks, without_leaks
from relit.data.rows import Row, Split
from relit.errors import ConfigurationError


def row(split: Split, scene: str, reference: str | None = None) -> Row:
    target = Path(f"/{split}/gt/{reference}") if reference else None
    return Row(Path(f"/{split}/{scene}.png"), target, split, "mixed", scene)


ROWS = [
    row("train", "1"),
    row("train", "2"),
    row("train", "3"),
    row("val", "2"),
    row("val", "4"),
    row("test", "3"),
    row("test", "4"),
    row("test", "5"),
]


def test_the_later_split_keeps_a_scene() -> None:
    assert [leak.row for leak in leaks(ROWS, {})] == [ROWS[1], ROWS[2], ROWS[4]]
    with pytest.warns(
        UserWarning, match=r"3 of 8 .*2\.png \(scene 2 is in the val split, too\), 3\.png .*4\.png"
    ):
        kept = without_leaks(ROWS, "data.root", strict=False)
    assert [(one.split, one.scene) for one in kept] == [
        ("train", "1"),
        ("val", "2"),
        ("test", "3"),
        ("test", "4"),
        ("test", "5"),
    ]
    assert leaks(kept, {}) == []
    with pytest.raises(ConfigurationError, match="show scenes of a later split"):
        without_leaks(ROWS, "data.root", strict=True)


def test_each_leaking_row_is_named_with_the_split_that_it_leaks_from() -> None:
    found = [(one.where, one.message, one.fault) for one in leak_findings(ROWS, {})]
    assert found == [
        ("/train/2.png", "scene 2 is in the val split, too", True),
        ("/train/3.png", "scene 3 is in the test split, too", True),
        ("/val/4.png", "scene 4 is in the test split, too", True),
    ]


@pytest.mark.parametrize("copied", ["input", "reference"])
def test_a_copy_under_another_name_leaks_too(copied: str) -> None:
    train, test = row("train", "1", "1.png"), row("test", "9", "9.png")
    one, other = (train.input, test.input) if copied == "input" else (train.reference, test.reference)
    assert one is not None
    assert other is not None
    found = leak_findings([train, test, row("train", "2")], {one: one, other: one})
    assert [finding.where for finding in found] == ["/train/1.png"]
    assert f"{other.parent.name}/{other.name} in the test split" in found[0].message


def test_across_data_sets_only_the_test_split_is_leaked_into() -> None:
    learned = [row("train", "1"), row("train", "2"), row("val", "3"), row("test", "4")]
    tested = [row("train", "1"), row("test", "2"), row("test", "3"), row("test", "4"), row("val", "1")]
    assert list(cross_leaks(learned, tested, {}, by_scene=True)) == [("train", ["2"]), ("val", ["3"])]
    assert list(cross_leaks(learned, tested, {}, by_scene=False)) == []
    copy, original = learned[0].input, tested[3].input
    assert list(cross_leaks(learned, tested, {copy: original, original: original}, by_scene=False)) == [
        ("train", ["1"])
    ]

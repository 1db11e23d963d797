"""Copies: found by their bytes, told apart from photographs that only look like copies, counted once."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest
import replicas

from relit.data.duplicates import content_key, counted_once, duplicate_findings, originals, same_content
from relit.data.rows import Row, Split


def row(root: Path, name: str, split: Split = "test", reference: str | None = None) -> Row:
    target = root / "gt" / (reference or name)
    return Row(root / "input" / name, target, split, "backlit", f"{split}/{name}")


def pairs(root: Path, *names: str) -> None:
    for name in names:
        replicas.put(root / "input" / name)
        replicas.put(root / "gt" / name)


def files(rows: list[Row]) -> list[Path]:
    return [path for one in rows for path in (one.input, one.reference) if path]


def test_content_is_told_by_bytes_and_not_by_names(tmp_path: Path) -> None:
    pairs(tmp_path, "a.png", "b.png")
    first = tmp_path / "input/a.png"
    copy = Path(shutil.copy(first, tmp_path / "input/z.png"))
    assert content_key(first) == content_key(copy) != content_key(tmp_path / "input/b.png")
    link = tmp_path / "input/loop.png"
    link.symlink_to(link)
    paths = [copy, link, tmp_path / "input/b.png", first, first, tmp_path / "gone.png"]
    assert same_content(paths) == [[copy, first]]
    assert originals(paths) == {copy: copy, first: copy}


def test_files_of_equal_length_are_no_copies(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    assert same_content([tmp_path / "a", tmp_path / "b"]) == []


def test_a_copied_pair_counts_once_and_a_copied_input_with_another_reference_twice(tmp_path: Path) -> None:
    pairs(tmp_path, "1.png", "2.png", "3.png")
    shutil.copy(tmp_path / "input/1.png", tmp_path / "input/2.png")
    for folder in ("input", "gt"):
        shutil.copy(tmp_path / folder / "1.png", tmp_path / folder / "3.png")
    rows = [row(tmp_path, name) for name in ("1.png", "2.png", "3.png")]
    with pytest.warns(UserWarning, match=r"data\.root: 1 of 3 are copies .*: 3\.png \(a copy of 1\.png\)"):
        assert counted_once(rows, "data.root") == rows[:2]
    found = duplicate_findings(rows, originals(files(rows)))
    assert [(Path(one.where).name, one.fault) for one in found] == [("2.png", False), ("3.png", False)]
    assert "both count" in found[0].message
    assert "count once" in found[1].message


def test_the_original_is_kept_where_its_copy_sorts_first(tmp_path: Path) -> None:
    names = ("0001.png", "0152(2).png", "0152.png")
    pairs(tmp_path, *names)
    for folder in ("input", "gt"):
        shutil.copy(tmp_path / folder / "0152.png", tmp_path / folder / "0152(2).png")
    rows = [row(tmp_path, name) for name in names]
    with pytest.warns(UserWarning, match=r"0152\(2\)\.png \(a copy of 0152\.png\)"):
        assert counted_once(rows, "data.root") == [rows[0], rows[2]]
    found = duplicate_findings(rows, originals(files(rows)))
    assert [Path(one.where).name for one in found] == ["0152(2).png"]


def test_nothing_is_said_where_nothing_is_copied(tmp_path: Path) -> None:
    pairs(tmp_path, "1.png", "2.png")
    rows = [row(tmp_path, name) for name in ("1.png", "2.png")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert counted_once(rows, "data.root") == rows
    assert duplicate_findings(rows, originals(files(rows))) == []


def test_one_input_with_several_references_is_no_copy(tmp_path: Path) -> None:
    pairs(tmp_path, "1.png", "2.png")
    rows = [row(tmp_path, "1.png"), row(tmp_path, "1.png", reference="2.png")]
    assert duplicate_findings(rows, originals(files(rows))) == []
    assert counted_once(rows, "data.root") == rows


def test_an_input_that_is_its_own_reference_is_a_fault(tmp_path: Path) -> None:
    pairs(tmp_path, "1.png", "2.png")
    shutil.copy(tmp_path / "input/1.png", tmp_path / "gt/1.png")
    rows = [row(tmp_path, "1.png"), row(tmp_path, "2.png")]
    found = duplicate_findings(rows, originals(files(rows)))
    assert [(Path(one.where).name, one.fault) for one in found] == [("1.png", True)]


def test_copies_in_other_splits_are_no_duplicates(tmp_path: Path) -> None:
    pairs(tmp_path, "1.png", "2.png")
    shutil.copy(tmp_path / "input/1.png", tmp_path / "input/2.png")
    rows = [row(tmp_path, "1.png", "train"), row(tmp_path, "2.png", "test")]
    assert duplicate_findings(rows, originals(files(rows))) == []


def test_the_name_of_a_copy_is_told_only_beside_its_original(tmp_path: Path) -> None:
    pairs(tmp_path, "0152.png", "0152(2).png", "0152 (3).PNG", "view (1).png", "(2).png")
    rows = [row(tmp_path, path.name) for path in sorted((tmp_path / "input").iterdir())]
    found = duplicate_findings(rows, originals(files(rows)))
    assert {Path(one.where).name for one in found} == {"0152(2).png", "0152 (3).PNG"}
    assert not any(one.fault for one in found)

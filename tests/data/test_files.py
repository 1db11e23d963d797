"""Photograph files: what a folder holds, and which files of two folders belong together."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from relit.data.files import is_photo, list_folders, list_photos, match, photos_in, unique_names
from relit.errors import ConfigurationError


def fill(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_photographs_are_listed_in_order_whatever_the_case_of_the_extension(tmp_path: Path) -> None:
    fill(tmp_path, "b.PNG", "a.jpg", "c.JpEg", "._a.jpg")
    (tmp_path / "notes.txt").touch()
    fill(tmp_path / "folder.png", "inside.png")
    assert [path.name for path in list_photos(tmp_path, "data.backlit")] == ["a.jpg", "b.PNG", "c.JpEg"]
    assert list_photos(str(tmp_path), "data.backlit") == list_photos(tmp_path, "data.backlit")


@pytest.mark.parametrize(
    ("folder", "reason"),
    [("missing", "does not exist"), ("file.png", "is not a folder"), ("empty", "no photographs")],
)
def test_unusable_folder_names_path_key_and_remedy(tmp_path: Path, folder: str, reason: str) -> None:
    fill(tmp_path, "file.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=reason) as caught:
        list_photos(tmp_path / folder, "data.backlit")
    assert str(tmp_path / folder) in str(caught.value)
    assert "data.backlit=DIR" in str(caught.value)


def test_folders_are_looked_for_below_the_root(tmp_path: Path) -> None:
    fill(tmp_path / "x", "a.png")
    fill(tmp_path / "y", "b.png")
    listed = list_folders(["x", str(tmp_path / "y")], str(tmp_path), "data.well_lit")
    assert [path.name for path in listed] == ["a.png", "b.png"]
    with pytest.raises(ConfigurationError, match=r"data\.root: .*nowhere does not exist .*data\.root=DIR"):
        list_folders("x", str(tmp_path / "nowhere"), "data.backlit")
    with pytest.raises(ConfigurationError, match=r"data\.well_lit is not set"):
        list_folders([], str(tmp_path), "data.well_lit")


def test_folder_that_was_not_set() -> None:
    with pytest.raises(ConfigurationError, match=r"data\.well_lit is not set"):
        list_photos(None, "data.well_lit")


def test_pairs_match_by_name_in_either_case_and_extension(tmp_path: Path) -> None:
    inputs = photos_in(fill(tmp_path / "input", "IMG_1.JPG", "img_2.png"))
    references = photos_in(fill(tmp_path / "reference", "img_1.png", "IMG_2.jpeg"))
    found = match(inputs, references)
    assert [(a.name, b.name) for a, b in found.pairs] == [
        ("IMG_1.JPG", "img_1.png"),
        ("img_2.png", "IMG_2.jpeg"),
    ]
    assert found.unmatched == []


def test_the_same_extension_decides_between_two_references(tmp_path: Path) -> None:
    inputs = photos_in(fill(tmp_path / "input", "a.png", "a.jpg", "b.tif"))
    references = photos_in(fill(tmp_path / "reference", "A.PNG", "a.jpg", "b.png", "b.jpg"))
    found = match(inputs, references)
    assert [(a.name, b.name) for a, b in found.pairs] == [("a.jpg", "a.jpg"), ("a.png", "A.PNG")]
    assert [(path.name, reason) for path, reason in found.unmatched] == [
        ("b.tif", "2 references"),
        ("b.jpg", "no input"),
        ("b.png", "no input"),
    ]


def test_what_has_no_counterpart_is_told_from_either_side(tmp_path: Path) -> None:
    inputs = photos_in(fill(tmp_path / "input", "a.png", "b.png"))
    references = photos_in(fill(tmp_path / "reference", "a.png", "c.png"))
    found = match(inputs, references)
    assert [(path.name, reason) for path, reason in found.unmatched] == [
        ("b.png", "no references"),
        ("c.png", "no input"),
    ]


def test_accents_match_however_they_are_encoded(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Straße bei Zürich 3.png") for form in ("NFC", "NFD"))
    assert composed != decomposed
    inputs = photos_in(fill(tmp_path / "input", composed))
    references = photos_in(fill(tmp_path / "reference", decomposed))
    assert match(inputs, references).pairs == [(inputs[0], references[0])]


def test_links_that_lead_nowhere_count_as_photographs_and_folders_and_pipes_do_not(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "folder.png").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    assert [path.name for path in photos_in(tmp_path)] == ["gone.png", "loop.png"]
    assert not is_photo(tmp_path / "folder.png")


def test_names_are_as_long_as_it_takes_to_tell_photographs_apart() -> None:
    files = ("x/a.png", "x/b.png", "x/b.jpg", "x/c.png", "y/c.png", "x/d.png", "x/d.jpg", "y/d.png")
    names = unique_names([Path(name) for name in files])
    assert names == ["a", "b.png", "b.jpg", "x-c", "y-c", "x-d", "d.jpg", "y-d"]
    same = unique_names([Path(name) for name in ("x/d.png", "x/d.jpg", "y/d.png", "y/d.jpg")])
    assert same == ["x-d.png", "x-d.jpg", "y-d.png", "y-d.jpg"]

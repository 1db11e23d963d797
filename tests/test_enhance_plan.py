"""Which photographs are found, and which files are written for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from relit.enhance_plan import Planned, plan_results, without_existing
from relit.errors import ConfigurationError

OUT = Path("out")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touched(*paths: str) -> list[Path]:
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return list(map(Path, paths))


def results(*named: str, output: Path = OUT, **options: object) -> dict[str, str]:
    planned = plan_results([Path(name) for name in named], output, **options)  # type: ignore[arg-type]
    return {one.photo.as_posix(): one.result.as_posix() for one in planned}


def test_patterns_are_those_of_a_shell_and_keep_what_lies_below_their_beginning() -> None:
    touched("in/a.jpg", "in/b.png", "in/deep/er/c.jpg", "in/deep/d.JPG", "in/.hidden/e.jpg", "in/notes.txt")
    assert results("in/*.jpg") == {"in/a.jpg": "out/a.jpg"}
    assert results("in/**/*.jpg") == {"in/a.jpg": "out/a.jpg", "in/deep/er/c.jpg": "out/deep/er/c.jpg"}
    assert results("in/*/d.[jJ]*") == {"in/deep/d.JPG": "out/deep/d.JPG"}
    assert results("in/?.*") == {"in/a.jpg": "out/a.jpg", "in/b.png": "out/b.png"}  # and not the notes
    absolute = Path.cwd().as_posix()
    assert results(f"{absolute}/i*/a.jpg") == {f"{absolute}/in/a.jpg": "out/in/a.jpg"}
    with pytest.raises(ConfigurationError, match=r"in/\*\.tif: no photograph matches"):
        results("in/*.tif")


def test_a_pattern_does_not_find_the_results_in_its_own_folder() -> None:
    touched("in/a.jpg", "in/out/a.jpg")
    assert results("in/**/*.jpg", output=Path("in/out")) == {"in/a.jpg": "in/out/a.jpg"}


def test_a_file_whose_name_looks_like_a_pattern_is_that_file() -> None:
    touched("a[1].jpg", "a1.jpg")
    assert results("a[1].jpg") == {"a[1].jpg": "out/a[1].jpg"}


def test_results_have_the_format_of_their_photographs_or_the_one_that_is_asked_for() -> None:
    names = ["a.JPG", "b.jpeg", "c.Tiff", "d.webp", "e.bmp", "f.png", "g"]
    touched(*names)
    assert list(results(*names).values()) == [
        "out/a.JPG", "out/b.jpeg", "out/c.Tiff", "out/d.webp", "out/e.png", "out/f.png", "out/g.png",
    ]  # fmt: skip
    assert list(results(*names, format_name="jpeg").values())[:4] == [
        "out/a.JPG", "out/b.jpeg", "out/c.jpg", "out/d.jpg",
    ]  # fmt: skip
    planned = plan_results([Path("e.bmp"), Path("c.Tiff")], OUT)
    assert [one.format for one in planned] == ["png", "tiff"]


def test_photographs_that_differ_in_format_alone_have_two_results() -> None:
    touched("a.jpg", "a.png")
    assert list(results("a.jpg", "a.png").values()) == ["out/a.jpg", "out/a.png"]
    with pytest.raises(ConfigurationError, match=r"a\.jpg and a\.png: both results would be out/a\.png"):
        results("a.jpg", "a.png", format_name="png")


def test_comparisons_are_files_of_their_own() -> None:
    touched("a.jpg", "b.png", "a-compare.jpg")
    planned = plan_results([Path("a.jpg"), Path("b.png")], OUT, compare=True)
    assert [one.comparison for one in planned] == [OUT / "a-compare.jpg", OUT / "b-compare.png"]
    with pytest.raises(ConfigurationError, match=r"both results would be out/a-compare\.jpg"):
        results("a.jpg", "a-compare.jpg", compare=True)


def test_results_that_exist_are_refused_skipped_or_replaced() -> None:
    touched("out/a.jpg")
    planned = [Planned(Path(name), OUT / name, "jpeg") for name in ("a.jpg", "b.jpg")]
    with pytest.raises(ConfigurationError, match=r"out/a\.jpg: exists.*--resume.*--force"):
        without_existing(planned, resume=False, force=False)
    assert without_existing(planned, resume=True, force=False) == planned[1:]
    assert without_existing(planned, resume=False, force=True) == planned


def test_a_comparison_is_no_more_replaced_than_a_result() -> None:
    touched("out/a-compare.jpg")
    planned = [Planned(Path("a.jpg"), OUT / "a.jpg", "jpeg", OUT / "a-compare.jpg")]
    with pytest.raises(ConfigurationError, match=r"out/a-compare\.jpg: exists"):
        without_existing(planned, resume=False, force=False)
    # it was written before a result that an interrupted run did not get to
    assert without_existing(planned, resume=True, force=False) == planned
    touched("out/a.jpg")
    assert without_existing(planned, resume=True, force=False) == []


def test_a_comparison_that_is_wanted_later_is_made() -> None:
    touched("out/a.jpg")
    planned = [Planned(Path("a.jpg"), OUT / "a.jpg", "jpeg", OUT / "a-compare.jpg")]
    assert without_existing(planned, resume=True, force=False) == planned

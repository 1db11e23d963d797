"""The mark of reduced copies is found from any folder of them, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from relit.data.resized import MARK, mark_resized, resized_to


def test_the_mark_is_found_from_the_folders_below_it_and_through_links(tmp_path: Path) -> None:
    deep = tmp_path / "lcdp_640px" / "Deep" / "input"
    deep.mkdir(parents=True)
    assert resized_to(deep) is None
    mark_resized(tmp_path / "lcdp_640px", "lcdp", 640)
    (tmp_path / "link").symlink_to(deep)
    for folder in (tmp_path / "lcdp_640px", deep, str(tmp_path / "link")):
        assert resized_to(folder) == 640
    assert resized_to(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"\xff", b"[640]", b"{}", b'{"long_side": "640"}'])
def test_other_files_of_that_name_are_no_mark(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MARK).write_bytes(content)
    assert resized_to(tmp_path) is None

"""What is wrong with a photograph file, by its header and by decoding it."""

from __future__ import annotations

from pathlib import Path

import replicas

from relit.data.condition import conditions


def test_sizes_and_reasons_by_file_each_once(tmp_path: Path) -> None:
    whole = replicas.put(tmp_path / "whole.jpg", 12, 20)
    cut, text, loop = (tmp_path / name for name in ("cut.png", "text.jpg", "loop.jpg"))
    replicas.cut_off(replicas.put(cut))
    text.write_text("not a photograph")
    loop.symlink_to(loop)
    for deep in (False, True):
        found = conditions([loop, whole, cut, text, whole], deep)
        assert list(found) == [loop, whole, cut, text]
        assert found[whole] == (12, 20)
        assert found[cut] == "cut off before its end"
        assert found[text] == "not an image, or of an unknown format"
        assert isinstance(found[loop], str)


def test_damage_between_header_and_end_shows_when_a_file_is_decoded(tmp_path: Path) -> None:
    paths = [replicas.put(tmp_path / name, 96, 128) for name in ("a.jpg", "a.png")]
    for path in paths:
        replicas.damage(path)
    assert conditions(paths) == dict.fromkeys(paths, (96, 128))
    assert all(isinstance(found, str) for found in conditions(paths, deep=True).values())

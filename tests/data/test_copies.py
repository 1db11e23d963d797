"""Reduced copies: the pixels that training would see, and calls that go on where the last one stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import replicas
import torch
from PIL import Image

from relit.data import threads
from relit.data.copies import copy_reduced, reduced
from relit.data.photo import read_photo
from relit.data.reader import PhotoReader, Resize


def test_a_copy_is_what_a_reader_with_that_long_side_gives(tmp_path: Path) -> None:
    shapes = {"wide.png": (23, 37), "tall.png": (37, 23), "thin.png": (1, 90), "small.png": (5, 7)}
    files = [replicas.put(tmp_path / "in" / "deep" / name, *shape) for name, shape in shapes.items()]
    copies = copy_reduced(files, tmp_path / "in", tmp_path / "out", long_side=20)
    assert copies.paths == {path: tmp_path / "out" / "deep" / path.name for path in files}
    assert (copies.made, copies.failed) == (4, {})
    for original, copy in copies.paths.items():
        assert torch.equal(read_photo(copy), PhotoReader(Resize(long_side=20))(original))
    sizes = {path.name: Image.open(copy).size for path, copy in copies.paths.items()}
    assert sizes == {"wide.png": (20, 12), "tall.png": (12, 20), "thin.png": (20, 1), "small.png": (7, 5)}


def test_photographs_are_turned_upright_and_their_extension_is_png(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.JPG"
    Image.linear_gradient("L").resize((40, 30)).convert("RGB").save(path, exif=exif)
    [copy] = copy_reduced([path], tmp_path, tmp_path / "out", long_side=20).paths.values()
    assert copy.name == "a.png"
    with Image.open(copy) as image:
        assert (image.format, image.size, image.getexif().get(0x0112)) == ("PNG", (15, 20), None)
    assert torch.equal(read_photo(copy), PhotoReader(Resize(long_side=20))(path))


def test_a_photograph_that_is_small_enough_is_left_as_it_is() -> None:
    image = Image.linear_gradient("L").resize((20, 10)).convert("RGB")
    assert reduced(image, 20).tobytes() == image.tobytes()
    assert reduced(image, 20).size == (20, 10)
    assert reduced(image, 19).size == (19, 10)


@pytest.mark.parametrize("shift", [-(10**12), 1])
def test_a_second_call_copies_what_is_missing_or_of_another_time_than_its_original(
    tmp_path: Path, shift: int
) -> None:
    files = [replicas.put(tmp_path / f"{name}.png") for name in ("same", "gone", "edited")]
    first = copy_reduced(files, tmp_path, tmp_path / "out", long_side=8)
    same, gone, edited = first.paths.values()
    before = {path: path.read_bytes() for path in (same, gone, edited)}
    gone.unlink()
    files[2].write_bytes(files[0].read_bytes())
    os.utime(files[2], ns=(0, edited.stat().st_mtime_ns + shift))
    stamp = same.stat()

    second = copy_reduced(files, tmp_path, tmp_path / "out", long_side=8)
    assert second.made == 2
    assert second.paths == first.paths
    assert same.stat() == stamp
    assert gone.read_bytes() == before[gone]
    assert edited.read_bytes() == before[same]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "edited.png",
        "gone.png",
        "same.png",
    ]


def test_what_cannot_be_copied_is_named_and_the_rest_done(tmp_path: Path) -> None:
    good, cut, twin = (replicas.put(tmp_path / name, 40, 40) for name in ("good.png", "cut.png", "good.jpg"))
    replicas.cut_off(cut)
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    blocked = replicas.put(tmp_path / "blocked" / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "blocked").touch()
    files = [good, cut, loop, tmp_path / "gone.png", twin, blocked, good]
    copies = copy_reduced(files, tmp_path, tmp_path / "out", long_side=8)
    assert copies.paths == {good: tmp_path / "out" / "good.png"}
    assert copies.made == 1
    assert list(copies.failed) == [twin, cut, loop, tmp_path / "gone.png", blocked]
    assert copies.failed[tmp_path / "gone.png"] == "no such file or directory"
    assert "symbolic links" in copies.failed[loop]
    assert copies.failed[twin] == "named like good.png, which is copied to good.png"


def test_what_belongs_together_is_copied_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    files = [replicas.put(tmp_path / "in" / folder / f"{i}.png") for folder in "ab" for i in range(3)]
    replicas.cut_off(files[1])
    copies = copy_reduced(files, tmp_path / "in", tmp_path / "out", 8, whole=lambda path: path.parent)
    assert list(copies.paths) == files[3:]
    assert copies.made == 3
    assert set(copies.failed) == set(files[:3])
    assert "left out with 1.png" in copies.failed[files[0]]
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.png")) == ["0.png", "1.png", "2.png"]


def test_a_copy_whose_original_is_damaged_since_is_gone(tmp_path: Path) -> None:
    path = replicas.put(tmp_path / "a.png")
    copy_reduced([path], tmp_path, tmp_path / "out", long_side=8)
    replicas.cut_off(path)
    assert list(copy_reduced([path], tmp_path, tmp_path / "out", long_side=8).failed) == [path]
    assert list((tmp_path / "out").iterdir()) == []


def test_an_interruption_does_not_wait_for_what_is_queued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [replicas.put(tmp_path / f"{i}.png") for i in range(60)]
    opened = Image.open

    def slowly(path: Path) -> Image.Image:
        time.sleep(0.05)  # so that most are queued still
        return opened(path)

    def interrupted(outcomes: Iterable[object], **options: object) -> Iterator[object]:
        yield next(iter(outcomes))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", slowly)
        patch.setattr(threads, "tqdm", interrupted)
        with pytest.raises(KeyboardInterrupt):
            copy_reduced(files, tmp_path, tmp_path / "out", long_side=8)
    made = len(list((tmp_path / "out").iterdir()))
    assert 1 <= made < 30
    left = copy_reduced(files, tmp_path, tmp_path / "out", long_side=8)
    assert len(left.paths) == 60
    assert left.made == 60 - made

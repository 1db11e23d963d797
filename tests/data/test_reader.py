"""A photograph is read at the size that is wanted, the same with a cache as without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from relit.data.cache import PhotoCache
from relit.data.photo import read_photo, resize_photo, write_png
from relit.data.reader import PhotoReader, Resize
from relit.keyed import keyed_generator

RESIZES = [Resize(), Resize(square=9), Resize(long_side=20), Resize(long_side=500)]


def jpeg(path: Path) -> Path:
    """A photograph of 30 x 45 pixels that lies on its side in the file."""
    noise = torch.randint(256, (45, 30, 3), dtype=torch.uint8, generator=keyed_generator("jpeg"))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise.numpy()).save(path, quality=92, exif=exif)
    return path


@pytest.mark.parametrize("resize", RESIZES, ids=lambda resize: resize.name)
def test_with_a_cache_is_as_without(tmp_path: Path, resize: Resize) -> None:
    path = jpeg(tmp_path / "photo.jpg")
    uncached = PhotoReader(resize)(path)
    reader = PhotoReader(resize, PhotoCache(tmp_path / "cache"))
    for _ in range(3):
        found = reader(path)
        assert found.dtype == torch.uint8
        assert torch.equal(found, uncached)
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 1


def test_the_whole_photograph_is_what_the_decoder_gives(tmp_path: Path) -> None:
    path = jpeg(tmp_path / "photo.jpg")
    assert torch.equal(PhotoReader()(path), read_photo(path))
    assert PhotoReader()(path).shape == (3, 30, 45)


def test_sizes_share_a_cache_and_do_not_meet(tmp_path: Path) -> None:
    path, cache = jpeg(tmp_path / "photo.jpg"), PhotoCache(tmp_path / "cache")
    readers = [PhotoReader(resize, cache) for resize in RESIZES]
    for _ in range(2):
        shapes = [tuple(reader(path).shape[1:]) for reader in readers]
        assert shapes == [(30, 45), (9, 9), (13, 20), (30, 45)]


def test_resizing_to_a_square_is_pillow_bicubic(tmp_path: Path) -> None:
    path = jpeg(tmp_path / "photo.jpg")
    assert torch.equal(PhotoReader(Resize(square=9))(path), resize_photo(read_photo(path), (9, 9)))


@pytest.mark.parametrize(
    ("size", "long_side", "expected"),
    [
        ((100, 200), 50, (25, 50)),
        ((200, 100), 50, (50, 25)),
        ((100, 200), 200, (100, 200)),
        ((100, 200), None, (100, 200)),
        ((33, 100), 10, (3, 10)),
        ((1, 1000), 10, (1, 10)),
    ],
)
def test_a_long_side_only_reduces_and_keeps_the_proportions(
    size: tuple[int, int], long_side: int | None, expected: tuple[int, int]
) -> None:
    photo = torch.zeros(3, *size, dtype=torch.uint8)
    assert Resize(long_side=long_side)(photo).shape[1:] == expected


def test_every_transform_has_its_own_name() -> None:
    resizes = [*RESIZES, Resize(square=20), Resize(square=500), Resize(long_side=9)]
    assert len({resize.name for resize in resizes}) == len(resizes)


def test_a_photograph_of_its_size_is_read_as_it_is(tmp_path: Path) -> None:
    photo = torch.randint(256, (3, 9, 9), dtype=torch.uint8, generator=keyed_generator("square"))
    write_png(tmp_path / "square.png", photo)
    assert torch.equal(PhotoReader(Resize(square=9))(tmp_path / "square.png"), photo)

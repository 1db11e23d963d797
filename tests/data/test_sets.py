"""Sets of photographs: what is read, what is left out, and what is said about it."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image

from relit.data import reader
from relit.data.files import list_photos
from relit.data.photo import read_photo, resize_photo, write_png
from relit.data.reader import PhotoReader, Resize
from relit.data.rows import Row
from relit.data.sets import MemoryPairSet, MemoryPhotoSet, PairSet, PhotoSet
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator

TO_8 = PhotoReader(Resize(square=8))


def photo(name: str, height: int = 12, width: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=keyed_generator(name))


def fill(folder: Path, *names: str, height: int = 12, width: int = 16) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        image = Image.fromarray(photo(name, height, width).permute(1, 2, 0).numpy())
        image.save(
            folder / name, format={".jpg": "JPEG", ".jpeg": "JPEG"}.get(Path(name).suffix.lower(), "PNG")
        )
    return folder


def corrupt(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"not a photograph")


def test_photographs_come_resized_and_keeping_them_changes_nothing(tmp_path: Path) -> None:
    paths = list_photos(fill(tmp_path, "a.png", "b.png"), "data.backlit")
    plain, cached = PhotoSet(paths, TO_8), PhotoSet(paths, TO_8, keep=True)
    cached.verify()
    assert cached.names == ["a", "b"]
    for index, name in enumerate(["a.png", "b.png"]):
        assert torch.equal(cached[index], resize_photo(photo(name), 8))
        assert torch.equal(plain[index], cached[index])
    assert torch.equal(PhotoSet(paths, PhotoReader())[1], photo("b.png"))


def test_verify_decodes_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []

    def counting(path: Path) -> torch.Tensor:
        decoded.append(path)
        return read_photo(path)

    monkeypatch.setattr(reader, "read_photo", counting)
    paths = list_photos(fill(tmp_path, *(f"{i}.png" for i in range(12))), "data.backlit")
    photos = PhotoSet(paths, PhotoReader(Resize(square=4)), keep=True)
    photos.verify()
    for _ in range(3):
        [photos[i] for i in range(len(photos))]
    assert sorted(decoded) == sorted(paths)


@pytest.mark.parametrize("keep", [False, True])
def test_unreadable_photographs_are_left_out_and_counted_once(tmp_path: Path, keep: bool) -> None:
    fill(tmp_path, "a.png", "m.png", "z.png")
    corrupt(tmp_path, *(f"bad{i}.jpg" for i in range(7)))
    photos = PhotoSet(list_photos(tmp_path, "data.backlit"), TO_8, keep, key="data.backlit")
    with pytest.warns(UserWarning, match=r"data\.backlit: 7 of 10 .* and 2 more") as caught:
        photos.verify()
    assert len(caught) == 1
    assert str(caught[0].message).count("bad") == 5
    assert photos.names == ["a", "m", "z"]
    assert torch.equal(photos[2], resize_photo(photo("z.png"), 8))


def test_strict_makes_one_unreadable_photograph_an_error(tmp_path: Path) -> None:
    corrupt(fill(tmp_path, "a.png"), "bad.jpg")
    photos = PhotoSet(list_photos(tmp_path, "data.backlit"), TO_8, key="data.backlit")
    with pytest.raises(ConfigurationError, match=r"bad\.jpg.*data\.strict=false"):
        photos.verify(strict=True)


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    corrupt(tmp_path, "one.jpg", "two.jpg")
    with pytest.raises(ConfigurationError, match=r"2 of 2 .* None is left"):
        PhotoSet(list_photos(tmp_path, "data.backlit"), TO_8).verify()


def test_one_photograph_is_a_set(tmp_path: Path) -> None:
    photos = PhotoSet(list_photos(fill(tmp_path, "only.png"), "data.backlit"), TO_8, keep=True)
    photos.verify()
    assert len(photos) == 1


def test_only_squares_are_kept() -> None:
    with pytest.raises(ValueError, match="squares"):
        PhotoSet([], PhotoReader(), keep=True)


def pair_set(tmp_path: Path, reader: PhotoReader | None = None) -> PairSet:
    """The files of ``input`` with those of the same name in ``reference``."""
    inputs = list_photos(tmp_path / "input", "data.input")
    references = {path.stem: path for path in list_photos(tmp_path / "reference", "data.reference")}
    rows = [Row(path, references[path.stem], "test", "backlit", path.stem) for path in inputs]
    return PairSet(rows, reader or PhotoReader(), "data.input")


def test_small_difference_in_size_is_mended_and_a_large_one_left_out(tmp_path: Path) -> None:
    fill(tmp_path / "input", "near.png", "far.png")
    fill(tmp_path / "reference", "near.png", height=11, width=18)
    fill(tmp_path / "reference", "far.png", height=16, width=12)
    pairs = pair_set(tmp_path)
    with pytest.warns(UserWarning, match=r"1 of 2 .*far\.png .*16x12 and 12x16"):
        pairs.verify()
    assert pairs.names == ["near"]
    assert torch.equal(pairs[0]["input"], photo("near.png"))
    assert torch.equal(pairs[0]["reference"], resize_photo(photo("near.png", 11, 18), (12, 16)))
    with pytest.raises(ConfigurationError, match="far"):
        pair_set(tmp_path).verify(strict=True)


def test_what_is_too_small_to_be_compared_is_left_out(tmp_path: Path) -> None:
    """As high as the window of SSIM is enough; a line less is not. What has no reference is not compared."""
    for folder in ("input", "reference"):
        fill(tmp_path / folder, "fits.png", height=11, width=16)
        fill(tmp_path / folder, "small.png", height=10, width=16)
    pairs = pair_set(tmp_path)
    with pytest.warns(UserWarning, match=r"1 of 2 .*small\.png \(16x10 is too small for SSIM's 11x11\)"):
        pairs.verify(least=11)
    assert pairs.names == ["fits"]
    alone = PairSet([Row(tmp_path / "input" / "small.png", None, "test", "under", "small")], PhotoReader())
    assert alone.verify(least=11)


def test_orientation_counts_before_sizes_are_compared(tmp_path: Path) -> None:
    fill(tmp_path / "reference", "a.png", height=16, width=12)
    (tmp_path / "input").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo("a").permute(1, 2, 0).numpy()).save(tmp_path / "input" / "a.jpg", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pairs = pair_set(tmp_path)
        pairs.verify()
    assert pairs[0]["input"].shape == pairs[0]["reference"].shape == (3, 16, 12)


def test_pairs_resized_to_a_square(tmp_path: Path) -> None:
    fill(tmp_path / "input", "a.png")
    fill(tmp_path / "reference", "a.png", height=12, width=17)
    pair = pair_set(tmp_path, TO_8)[0]
    assert torch.equal(pair["input"], resize_photo(photo("a.png"), 8))
    assert torch.equal(pair["reference"], resize_photo(photo("a.png", 12, 17), 8))


def test_unreadable_half_of_a_pair_leaves_the_pair_out(tmp_path: Path) -> None:
    fill(tmp_path / "input", "a.png", "b.png")
    corrupt(fill(tmp_path / "reference", "a.png"), "b.png")
    pairs = pair_set(tmp_path)
    with pytest.warns(UserWarning, match=r"1 of 2 .*b\.png"):
        pairs.verify()
    assert pairs.names == ["a"]


def test_inputs_without_references(tmp_path: Path) -> None:
    row = Row(fill(tmp_path, "a.png") / "a.png", None, "test", "backlit", "a")
    pairs = PairSet([row], PhotoReader())
    pairs.verify()
    assert pairs[0].keys() == {"input", "name", "label"}


def test_memory_sets_equal_folder_sets(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_png(tmp_path / f"{name}.png", photo(name))
    paths = list_photos(tmp_path, "data.backlit")
    memory = MemoryPhotoSet([photo("a"), photo("b")], ["a", "b"], size=8)
    from_files = PhotoSet(paths, TO_8)
    assert list(memory.names) == from_files.names
    assert all(torch.equal(memory[i], from_files[i]) for i in range(2))
    pairs = MemoryPairSet([photo("a")], [photo("b")], ["a"], size=8)
    assert torch.equal(pairs[0]["reference"], from_files[1])
    assert MemoryPairSet([photo("a")], None, ["a"])[0].keys() == {"input", "name"}
    with pytest.raises(ValueError, match="2 images and 1 names"):
        MemoryPhotoSet([photo("a"), photo("b")], ["a"])


def test_headers_tell_a_file_that_was_cut_off_and_one_of_another_size(tmp_path: Path) -> None:
    for folder in ("input", "reference"):
        fill(tmp_path / folder, "whole.jpg", "cut.jpg", "turned.png", "damaged.png")
    cut = tmp_path / "input" / "cut.jpg"
    cut.write_bytes(cut.read_bytes()[:-20])
    fill(tmp_path / "reference", "turned.png", height=16, width=12)
    damaged = tmp_path / "input" / "damaged.png"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 255
    damaged.write_bytes(content)
    by_header, decoded = pair_set(tmp_path), pair_set(tmp_path)
    with pytest.warns(UserWarning, match=r"2 of 4 .*cut\.jpg \(cut off before its end\), turned\.png"):
        by_header.verify(decode=False)
    assert by_header.names == ["damaged", "whole"]
    with pytest.warns(UserWarning, match=r"3 of 4"):
        decoded.verify()
    assert decoded.names == ["whole"]


def test_an_input_with_several_references_has_their_folders_in_its_names(tmp_path: Path) -> None:
    photographs = {
        name: fill(tmp_path / name, "a.png", "b.png") for name in ("input", "expert_a", "expert_b")
    }
    rows = [
        Row(photographs["input"] / "a.png", photographs[expert] / "a.png", "test", "over", "a")
        for expert in ("expert_a", "expert_b")
    ]
    rows.append(Row(photographs["input"] / "b.png", photographs["expert_a"] / "b.png", "test", "over", "b"))
    assert PairSet(rows, PhotoReader()).names == ["a expert_a", "a expert_b", "b"]

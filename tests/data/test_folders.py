"""Folders: what is found, what is left out, and what is said about it."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image

from relit.data import folders
from relit.data.folders import MemoryPairSet, MemoryPhotoSet, PairSet, PhotoSet, list_photos
from relit.data.photo import read_photo, resize_photo, write_png
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator


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


def test_folder_that_was_not_set() -> None:
    with pytest.raises(ConfigurationError, match=r"data\.well_lit is not set"):
        list_photos(None, "data.well_lit")


def test_photographs_come_resized_and_the_cache_changes_nothing(tmp_path: Path) -> None:
    paths = list_photos(fill(tmp_path, "a.png", "b.png"), "data.backlit")
    plain, cached = PhotoSet(paths, size=8), PhotoSet(paths, size=8, cache=True)
    cached.verify()
    assert cached.names == ["a", "b"]
    for index, name in enumerate(["a.png", "b.png"]):
        assert torch.equal(cached[index], resize_photo(photo(name), 8))
        assert torch.equal(plain[index], cached[index])
    assert torch.equal(PhotoSet(paths)[1], photo("b.png"))


def test_verify_decodes_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []

    def counting(path: Path) -> torch.Tensor:
        decoded.append(path)
        return read_photo(path)

    monkeypatch.setattr(folders, "read_photo", counting)
    paths = list_photos(fill(tmp_path, *(f"{i}.png" for i in range(12))), "data.backlit")
    photos = PhotoSet(paths, size=4, cache=True)
    photos.verify()
    for _ in range(3):
        [photos[i] for i in range(len(photos))]
    assert sorted(decoded) == sorted(paths)


@pytest.mark.parametrize("cache", [False, True])
def test_unreadable_photographs_are_left_out_and_counted_once(tmp_path: Path, cache: bool) -> None:
    fill(tmp_path, "a.png", "m.png", "z.png")
    corrupt(tmp_path, *(f"bad{i}.jpg" for i in range(7)))
    photos = PhotoSet(list_photos(tmp_path, "data.backlit"), size=8, cache=cache, key="data.backlit")
    with pytest.warns(UserWarning, match=r"data\.backlit: 7 of 10 .* and 2 more") as caught:
        photos.verify()
    assert len(caught) == 1
    assert str(caught[0].message).count("bad") == 5
    assert photos.names == ["a", "m", "z"]
    assert torch.equal(photos[2], resize_photo(photo("z.png"), 8))


def test_strict_makes_one_unreadable_photograph_an_error(tmp_path: Path) -> None:
    corrupt(fill(tmp_path, "a.png"), "bad.jpg")
    photos = PhotoSet(list_photos(tmp_path, "data.backlit"), size=8, key="data.backlit")
    with pytest.raises(ConfigurationError, match=r"bad\.jpg.*data\.strict=false"):
        photos.verify(strict=True)


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    corrupt(tmp_path, "one.jpg", "two.jpg")
    with pytest.raises(ConfigurationError, match=r"2 of 2 .* None is left"):
        PhotoSet(list_photos(tmp_path, "data.backlit"), size=8).verify()


def test_one_photograph_is_a_set(tmp_path: Path) -> None:
    photos = PhotoSet(list_photos(fill(tmp_path, "only.png"), "data.backlit"), size=8, cache=True)
    photos.verify()
    assert len(photos) == 1


def test_cache_needs_one_size() -> None:
    with pytest.raises(ValueError, match="size"):
        PhotoSet([], cache=True)


def pair_set(tmp_path: Path, **arguments: object) -> PairSet:
    inputs, references = (list_photos(tmp_path / name, f"data.{name}") for name in ("input", "reference"))
    return PairSet(inputs, references, key="data.input", reference_key="data.reference", **arguments)  # type: ignore[arg-type]


def test_pairs_match_by_name_in_either_case_and_extension(tmp_path: Path) -> None:
    fill(tmp_path / "input", "IMG_1.JPG", "img_2.png")
    fill(tmp_path / "reference", "img_1.png", "IMG_2.jpeg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pairs = pair_set(tmp_path)
        pairs.verify()
    assert pairs.names == ["IMG_1", "img_2"]
    assert torch.equal(pairs[0]["reference"], photo("img_1.png"))
    assert torch.equal(pairs[1]["input"], photo("img_2.png"))
    assert pairs[1]["name"] == "img_2"


def test_the_same_extension_decides_between_two_references(tmp_path: Path) -> None:
    fill(tmp_path / "input", "a.png", "a.jpg", "b.tif")
    fill(tmp_path / "reference", "A.PNG", "a.jpg", "b.png", "b.jpg")
    with pytest.warns(UserWarning, match=r"b\.tif \(2 references\)"):
        pairs = pair_set(tmp_path)
    assert pairs.names == ["a.jpg", "a.png"]
    assert [reference.name for _, reference in pairs.pairs if reference] == ["a.jpg", "A.PNG"]


def test_unmatched_files_are_counted(tmp_path: Path) -> None:
    fill(tmp_path / "input", "a.png", "b.png")
    fill(tmp_path / "reference", "a.png", "c.png")
    with pytest.warns(UserWarning, match=r"2 of 4 .*b\.png \(no references\), c\.png \(no input\)"):
        assert pair_set(tmp_path).names == ["a"]
    with pytest.raises(ConfigurationError, match=r"2 of 4 .*data\.strict=false"):
        pair_set(tmp_path, strict=True)


def test_nothing_matched_is_an_error(tmp_path: Path) -> None:
    fill(tmp_path / "input", "a.png")
    fill(tmp_path / "reference", "b.png")
    with pytest.raises(ConfigurationError, match=r"data\.input and data\.reference.*a\.png.*b\.png"):
        pair_set(tmp_path)


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
        pair_set(tmp_path, strict=True).verify()


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
    pair = pair_set(tmp_path, size=8)[0]
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
    pairs = PairSet(list_photos(fill(tmp_path, "a.png"), "data.test_input"))
    pairs.verify()
    assert pairs[0].keys() == {"input", "name"}


def test_memory_sets_equal_folder_sets(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_png(tmp_path / f"{name}.png", photo(name))
    paths = list_photos(tmp_path, "data.backlit")
    memory = MemoryPhotoSet([photo("a"), photo("b")], ["a", "b"], size=8)
    from_files = PhotoSet(paths, size=8)
    assert list(memory.names) == from_files.names
    assert all(torch.equal(memory[i], from_files[i]) for i in range(2))
    pairs = MemoryPairSet([photo("a")], [photo("b")], ["a"], size=8)
    assert torch.equal(pairs[0]["reference"], from_files[1])
    assert MemoryPairSet([photo("a")], None, ["a"])[0].keys() == {"input", "name"}
    with pytest.raises(ValueError, match="2 images and 1 names"):
        MemoryPhotoSet([photo("a"), photo("b")], ["a"])

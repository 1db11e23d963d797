"""Reading a photograph with all of it that is kept, against what was written by other libraries."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from photo_files import TURNS, levels, write_deep
from PIL import Image

from relit.data.decoding import UnreadablePhoto
from relit.photo_file.reading import read_photograph


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_every_orientation_of_every_kind_of_tiff_is_undone(
    tmp_path: Path, mode: str, compression: str | None
) -> None:
    """Pillow itself garbles uncompressed ones that are turned by 90 degrees."""
    pixels = levels((5, 8, len(mode)), np.uint8)
    for orientation, upright in TURNS.items():
        path = tmp_path / f"{orientation}.tif"
        image = Image.frombytes(mode, (8, 5), pixels.tobytes())
        image.save(path, compression=compression, exif=oriented(orientation))
        photo = read_photograph(path)
        read = photo.samples if photo.alpha is None else np.dstack([photo.samples, photo.alpha])
        assert np.array_equal(read, upright(pixels))


@pytest.mark.parametrize(
    ("extension", "channels"),
    [("png", 1), ("png", 2), ("png", 3), ("png", 4), ("tif", 1), ("tif", 3), ("tif", 4)],
)
def test_16_bit_samples_and_alpha_are_read_as_they_are(tmp_path: Path, extension: str, channels: int) -> None:
    pixels = levels((5, 8, channels), np.uint16)
    photo = read_photograph(write_deep(tmp_path / f"deep.{extension}", pixels))
    colours = channels - 1 + channels % 2
    assert photo.is_deep
    assert np.array_equal(photo.samples, pixels[..., :colours])
    if photo.alpha is None:
        assert channels % 2 == 1
    else:
        assert np.array_equal(photo.alpha, pixels[..., -1])


def test_all_kinds_of_16_bit_tiff_hold_the_same(tmp_path: Path) -> None:
    pixels = levels((5, 8, 4), np.uint16)
    rgb = np.ascontiguousarray(pixels[..., :3])
    path = tmp_path / "deep.tif"
    for compression in ("deflate", "lzw", "zstd", "packbits"):
        tifffile.imwrite(path, rgb, photometric="rgb", compression=compression)
        assert np.array_equal(read_photograph(path).samples, rgb)
    tifffile.imwrite(path, rgb, photometric="rgb", compression="lzw", predictor=True, byteorder=">")
    assert np.array_equal(read_photograph(path).samples, rgb)
    tifffile.imwrite(path, np.moveaxis(rgb, 2, 0), photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_photograph(path).samples, rgb)
    tifffile.imwrite(path, 65535 - rgb[..., 0], photometric="miniswhite")
    assert np.array_equal(read_photograph(path).samples, rgb[..., :1])
    tifffile.imwrite(path, pixels, photometric="separated")
    assert np.array_equal(read_photograph(path).samples, pixels)


def test_colours_that_were_multiplied_by_alpha_are_divided_by_it(tmp_path: Path) -> None:
    path = tmp_path / "premultiplied.tif"
    pixels = np.array([[[600, 300, 0, 30000], [5, 6, 7, 0], [1, 2, 3, 65535]]], np.uint16)
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["assocalpha"])
    photo = read_photograph(path)
    straight = [round(600 * 65535 / 30000), round(300 * 65535 / 30000), 0]
    assert photo.samples.tolist() == [[straight, [5, 6, 7], [1, 2, 3]]]
    assert photo.alpha is not None
    assert photo.alpha.tolist() == [[30000, 0, 65535]]


def test_16_bit_colour_that_stands_for_transparency_becomes_alpha(tmp_path: Path) -> None:
    path = tmp_path / "keyed.png"
    pixels = levels((4, 5, 3), np.uint16)
    file = imagecodecs.png_encode(pixels)
    from PIL.PngImagePlugin import putchunk

    with path.open("wb") as keyed:
        keyed.write(file[:33])
        putchunk(keyed, b"tRNS", pixels[2, 3].astype(">u2").tobytes())
        keyed.write(file[33:])
    photo = read_photograph(path)
    assert np.array_equal(photo.samples, pixels)
    expected = np.full((4, 5), 65535)
    expected[2, 3] = 0
    assert photo.alpha is not None
    assert np.array_equal(photo.alpha, expected)


def test_transparent_colours_and_palette_entries_become_alpha(tmp_path: Path) -> None:
    path = tmp_path / "keyed.png"
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    Image.fromarray(grey).save(path, transparency=4)
    photo = read_photograph(path)
    assert photo.is_grey
    assert photo.alpha is not None
    assert photo.alpha.tolist() == [[255, 255, 255], [255, 0, 255]]
    palette = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    palette.save(path, transparency=bytes([7, 200, 255]))
    photo = read_photograph(path)
    assert photo.samples.tolist() == [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]
    assert photo.alpha is not None
    assert photo.alpha.tolist() == [[7, 200, 255]]


def test_floating_point_and_bilevel_samples(tmp_path: Path) -> None:
    path = tmp_path / "samples.tif"
    Image.fromarray(np.array([[0, 0.5, 1, 2, -1, np.nan]], np.float32)).save(path)
    photo = read_photograph(path)
    assert photo.samples[0, :, 0].tolist() == [0, 32768, 65535, 65535, 0, 0]
    assert "16-bit" in photo.remarks[0]
    Image.fromarray(np.array([[True, False]])).save(path)
    assert read_photograph(path).samples.tolist() == [[[255], [0]]]


def test_of_several_pictures_the_first_is_read_and_it_is_said(tmp_path: Path) -> None:
    first, second = (Image.fromarray(levels((4, 5, 3), np.uint8, seed)) for seed in (0, 1))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    photo = read_photograph(tmp_path / "a.tif")
    assert np.array_equal(photo.samples, np.asarray(first))
    assert "2 pictures" in photo.remarks[0]
    for name in ("a.webp", "a.png"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        with pytest.raises(UnreadablePhoto, match="an animation of 2 pictures"):
            read_photograph(tmp_path / name)


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    deep = {
        extension: write_deep(tmp_path / f"deep.{extension}", levels((40, 40, 3), np.uint16)).read_bytes()
        for extension in ("png", "tif")
    }
    for content, reason in (
        (b"", "empty file"),
        (b"text", "not an image"),
        (deep["png"][: len(deep["png"]) // 2], "truncated"),
        (deep["png"][:-30], "truncated"),
        (deep["tif"][:-30], "truncated"),
    ):
        path = tmp_path / "bad.png"
        path.write_bytes(content)
        with pytest.raises(UnreadablePhoto, match=reason) as caught:
            read_photograph(path)
        assert caught.value.path == path
    with pytest.raises(UnreadablePhoto, match="no such file"):
        read_photograph(tmp_path / "missing.png")


def test_a_file_of_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("L", (30, 10)).save(path)
    limit = Image.MAX_IMAGE_PIXELS
    assert read_photograph(path, max_pixels=300).samples.shape == (10, 30, 1)
    for most in (299, 20):  # Pillow only warns of up to twice the limit
        with pytest.raises(UnreadablePhoto, match=f"more than {most} pixels, see --max-pixels"):
            read_photograph(path, max_pixels=most)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.filterwarnings("error")
def test_damaged_metadata_do_not_cost_the_photograph(tmp_path: Path) -> None:
    path = tmp_path / "damaged.png"
    pixels = levels((4, 5, 3), np.uint8)
    Image.fromarray(pixels).save(
        path, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x03\x01\x0f\0\x02\0\0\0\xff\0\0\0\x7f"
    )
    photo = read_photograph(path)
    assert np.array_equal(photo.samples, pixels)
    assert "damaged" in photo.remarks[0]


def test_exif_data_that_cannot_be_written_again_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "odd.png"
    unit = b"\x01\x28\0\x04\0\0\0\x01\0\x01\x86\xa0"  # 100,000, where EXIF has two bytes
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + unit + bytes(4)
    Image.fromarray(levels((4, 5, 3), np.uint8)).save(path, exif=exif, dpi=(300, 300))
    photo = read_photograph(path)
    assert photo.remarks == ("has damaged EXIF data, which are not kept",)
    assert len(photo.metadata.exif) == 0
    assert photo.metadata.dpi == pytest.approx((300, 300), abs=0.01)

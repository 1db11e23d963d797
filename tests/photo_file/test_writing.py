"""Writing a photograph: other readers find in the file what was put into it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from photo_files import levels, stored_pixels
from PIL import ExifTags, Image, JpegImagePlugin

from relit.photo_file.colour import srgb_profile
from relit.photo_file.formats import FORMATS
from relit.photo_file.photograph import Photograph
from relit.photo_file.reading import read_photograph
from relit.photo_file.writing import TooLarge, encoded, losses

Tag = ExifTags.Base
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" xmp:Rating="4">'
    b"<xmp:Thumbnails><rdf:Alt>AAAA</rdf:Alt></xmp:Thumbnails></rdf:Description></x:xmpmeta>"
)


def camera_jpeg(path: Path) -> Path:
    """A photograph as a camera held upright writes it: turned, with a thumbnail, GPS and a maker's notes."""
    exif = Image.Exif()
    exif[Tag.Make] = "Camera"
    exif[Tag.Orientation] = 6
    exif[ExifTags.IFD.Exif] = {
        Tag.DateTimeOriginal: "2024:05:06 07:08:09",
        Tag.ExposureTime: 0.004,
        Tag.MakerNote: b"private notes",
        Tag.ExifImageWidth: 20,
        Tag.ExifImageHeight: 12,
        ExifTags.IFD.Interop: {1: "R98"},
    }
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (48.0, 12.0, 30.5)}
    image = Image.fromarray(levels((12, 20, 3), np.uint8))
    image.save(
        path, exif=exif, xmp=XMP, dpi=(300, 300), comment=b"a comment", icc_profile=srgb_profile(), quality=90
    )
    return path


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("extension", ["png", "tif"])
def test_lossless_files_hold_every_level(
    tmp_path: Path, channels: int, dtype: type[np.unsignedinteger], extension: str
) -> None:
    pixels = levels((300, 301, channels), dtype)  # several strips
    colours = channels - 1 + channels % 2
    alpha = pixels[..., -1] if channels % 2 == 0 else None
    photo = Photograph(pixels[..., :colours], alpha)
    name = {"png": "png", "tif": "tiff"}[extension]
    path = tmp_path / f"result.{extension}"
    path.write_bytes(encoded(photo, name))
    assert losses(photo, name) == []
    assert np.array_equal(stored_pixels(path), pixels)
    if (extension, dtype, channels) == ("tif", np.uint16, 2):
        return  # Pillow does not know this kind
    with Image.open(path) as image:
        shown = np.atleast_3d(np.asarray(image))
    if channels == 2 and dtype is np.uint16:  # as RGB
        shown = shown[..., 2:]
    assert np.array_equal(shown, pixels if shown.dtype == dtype else pixels >> 8)


@pytest.mark.parametrize("name", FORMATS)
def test_metadata_are_kept_in_every_format(tmp_path: Path, name: str) -> None:
    photo = read_photograph(camera_jpeg(tmp_path / "camera.jpg"))
    path = tmp_path / f"result{FORMATS[name].extensions[0]}"
    path.write_bytes(encoded(photo, name))
    with Image.open(path) as image:
        assert image.format == FORMATS[name].title.upper()
        assert image.size == (12, 20)  # upright
        exif = image.getexif()
        details, place = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
        assert exif[Tag.Make] == "Camera"
        assert exif[Tag.Orientation] == 1  # of XMP
        assert exif.get_ifd(ExifTags.IFD.IFD1) == {}
        assert details[Tag.DateTimeOriginal] == "2024:05:06 07:08:09"
        assert details[Tag.ExposureTime] == pytest.approx(0.004)
        assert details[Tag.MakerNote] == b"private notes"
        assert (details[Tag.ExifImageWidth], details[Tag.ExifImageHeight]) == (12, 20)
        assert exif.get_ifd(ExifTags.IFD.Interop)[1].startswith("R98")
        assert place[2] == (48.0, 12.0, 30.5)
        assert image.info["icc_profile"] == srgb_profile()
        assert b'xmp:Rating="4"' in image.info["xmp"]
        assert b'tiff:Orientation="1"' in image.info["xmp"]
        assert b"Thumbnails" not in image.info["xmp"]
        if name != "webp":
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        if name == "jpeg":
            assert image.info["comment"] == b"a comment"


def test_a_thumbnail_of_the_old_light_is_dropped(tmp_path: Path) -> None:
    thumbnail = io.BytesIO()
    Image.new("RGB", (8, 6)).save(thumbnail, "JPEG")
    # a second directory with the thumbnail behind it, as cameras write it
    first = b"MM\0*\0\0\0\x08" + b"\0\1" + b"\1\x12\0\3\0\0\0\1\0\1\0\0" + b"\0\0\0\x1a"
    count = len(thumbnail.getvalue()).to_bytes(4, "big")
    second = b"\0\2" + b"\2\1\0\4\0\0\0\1\0\0\0\x38" + b"\2\2\0\4\0\0\0\1" + count + b"\0\0\0\0"
    exif = b"Exif\0\0" + first + second + thumbnail.getvalue()
    path = tmp_path / "with.jpg"
    Image.fromarray(levels((12, 20, 3), np.uint8)).save(path, exif=exif)
    with Image.open(path) as image:
        assert image.getexif().get_ifd(ExifTags.IFD.IFD1)[0x0201] == 0x38
    assert thumbnail.getvalue() in path.read_bytes()
    photo = read_photograph(path)
    assert photo.remarks == ()
    for name in FORMATS:
        assert thumbnail.getvalue() not in encoded(photo, name)


def test_a_tiff_is_what_its_tags_say(tmp_path: Path) -> None:
    path = tmp_path / "result.tif"
    photo = read_photograph(camera_jpeg(tmp_path / "camera.jpg"))
    path.write_bytes(encoded(replace(photo, alpha=levels((20, 12), np.uint8)), "tiff"))
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        assert page.photometric == tifffile.PHOTOMETRIC.RGB
        assert page.extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)
        assert page.iccprofile == srgb_profile()
        assert page.tags["ExifTag"].value["DateTimeOriginal"] == "2024:05:06 07:08:09"
        assert page.tags["XResolution"].value == (300, 1)


def test_texts_of_a_png_stay(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Author", "Jörg")
    info.add_itxt("Title", "光", lang="zh")
    path = tmp_path / "a.png"
    Image.fromarray(levels((4, 5, 3), np.uint8)).save(path, pnginfo=info)
    path.write_bytes(encoded(read_photograph(path), "png"))
    with Image.open(path) as image:
        assert image.text == {"Author": "Jörg", "Title": "光"}
        assert image.text["Title"].lang == "zh"


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_chroma_of_a_jpeg_is_stored_as_it_was(tmp_path: Path, subsampling: str) -> None:
    path, result = tmp_path / "a.jpg", tmp_path / "b.jpg"
    Image.fromarray(levels((16, 16, 3), np.uint8)).save(path, subsampling=subsampling)
    result.write_bytes(encoded(read_photograph(path), "jpeg"))
    with Image.open(path) as before, Image.open(result) as after:
        assert JpegImagePlugin.get_sampling(after) == JpegImagePlugin.get_sampling(before)
    png = tmp_path / "a.png"
    Image.fromarray(levels((16, 16, 3), np.uint8)).save(png)
    result.write_bytes(encoded(read_photograph(png), "jpeg"))
    with Image.open(result) as after:
        assert JpegImagePlugin.get_sampling(after) == 0


def test_quality_is_that_of_pillow(tmp_path: Path) -> None:
    photo = Photograph(levels((32, 32, 3), np.uint8))
    for quality in (40, 95):
        plain = io.BytesIO()
        Image.fromarray(photo.samples).save(plain, "JPEG", quality=quality, subsampling=0)
        with Image.open(plain) as expected, Image.open(io.BytesIO(encoded(photo, "jpeg", quality))) as image:
            assert image.quantization == expected.quantization
    assert len(encoded(photo, "webp", 40)) < len(encoded(photo, "webp", 95))


def test_what_a_format_cannot_hold_is_named_and_reduced() -> None:
    exif = Image.Exif()
    exif[Tag.ImageDescription] = "x" * 70_000
    deep = Photograph(levels((6, 7, 3), np.uint16), levels((6, 7), np.uint16, seed=1))
    long = replace(deep, metadata=replace(deep.metadata, exif=exif, xmp=b"x" * 70_000))
    assert losses(long, "png") == losses(long, "tiff") == []
    assert losses(long, "webp") == ["no 16-bit samples"]
    assert losses(deep, "jpeg") == ["no 16-bit samples", "no alpha"]
    assert losses(long, "jpeg")[2:] == ["not so much EXIF data", "not so much XMP data"]
    with Image.open(io.BytesIO(encoded(long, "jpeg"))) as image:
        assert image.mode == "RGB"
        assert "xmp" not in image.info
    with Image.open(io.BytesIO(encoded(deep, "webp"))) as image:
        alpha = np.asarray(image.getchannel("A"))
    assert np.array_equal(alpha, np.rint(deep.alpha / 257))


@pytest.mark.parametrize(("name", "side"), [("jpeg", 65_501), ("webp", 16_384)])
def test_a_side_too_long_for_a_format_is_told(name: str, side: int) -> None:
    with pytest.raises(TooLarge, match="pixels along a side"):
        encoded(Photograph(np.zeros((1, side, 3), np.uint8)), name)
    assert encoded(Photograph(np.zeros((1, side - 1, 3), np.uint8)), name)

"""Decoding: whatever a camera or an editor writes becomes the same upright 8-bit sRGB."""

from __future__ import annotations

import pickle
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps

from relit.data.decoding import UnreadablePhoto
from relit.data.photo import read_photo, resize_photo, write_png
from relit.errors import ConfigurationError


def scene(height: int = 6, width: int = 10, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_array(photo: torch.Tensor) -> np.ndarray:
    assert photo.dtype == torch.uint8
    assert photo.is_contiguous()
    return photo.permute(1, 2, 0).numpy()


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def display_profile(
    primaries: tuple[str, str, str] = ("r", "g", "b"), tone_curve: Sequence[float] = ()
) -> bytes:
    """A minimal ICC v2 profile: sRGB's primaries in the given order, a sampled tone curve (none: linear)."""
    xyz = {  # sRGB's primaries adapted to D50
        "r": (0.43607, 0.22249, 0.01392),
        "g": (0.38515, 0.71687, 0.09708),
        "b": (0.14307, 0.06061, 0.71410),
        "w": (0.96420, 1.0, 0.82491),
    }

    def point(name: str) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in xyz[name]))

    text = b"Linear\0"
    entries = b"".join(struct.pack(">H", round(v * 65535)) for v in tone_curve)
    curve = b"curv\0\0\0\0" + struct.pack(">I", len(tone_curve)) + entries
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text\0\0\0\0" + b"none\0",
        b"wtpt": point("w"),
        b"rXYZ": point(primaries[0]),
        b"gXYZ": point(primaries[1]),
        b"bXYZ": point(primaries[2]),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = struct.pack(">I", len(tags)), b""
    offset = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    illuminant = struct.pack(">3i", *(round(v * 65536) for v in xyz["w"]))
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"none", 0x02200000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + illuminant
    return header.ljust(128, b"\0") + table + body


def encode_srgb(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "tif"])
def test_every_exif_orientation_is_undone_as_pillow_does(
    tmp_path: Path, orientation: int, extension: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(Image.fromarray(scene()), tmp_path / f"photo.{extension}", exif=exif)
    with Image.open(path) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    assert np.array_equal(as_array(read_photo(path)), np.asarray(expected))
    assert read_photo(path).shape == ((3, 10, 6) if orientation >= 5 else (3, 6, 10))


@pytest.mark.parametrize("orientation", [5, 6, 8])
@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_uncompressed_and_compressed_tiffs_that_are_turned_hold_the_same(
    tmp_path: Path, mode: str, orientation: int
) -> None:
    levels = np.arange(6 * 10 * 4, dtype=np.uint8).reshape(6, 10, 4)
    image = Image.fromarray(levels[..., 0] if mode == "L" else levels, mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "raw.tif", exif=exif)
    image.save(tmp_path / "lzw.tif", exif=exif, compression="tiff_lzw")
    raw, lzw = (read_photo(tmp_path / name) for name in ("raw.tif", "lzw.tif"))
    assert raw.shape == (3, 10, 6)
    assert torch.equal(raw, lzw)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_nonsense_orientation_and_damaged_exif_leave_the_photo_as_it_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    odd = save(Image.fromarray(scene()), tmp_path / "odd.png", exif=exif)
    damaged = save(Image.fromarray(scene()), tmp_path / "damaged.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert np.array_equal(as_array(read_photo(odd)), scene())
    assert np.array_equal(as_array(read_photo(damaged)), scene())


def test_linear_profile_becomes_srgb_by_its_formula(tmp_path: Path) -> None:
    grey = np.repeat(np.arange(0, 256, 5, dtype=np.uint8)[None, :, None], 3, axis=2)
    path = save(Image.fromarray(grey), tmp_path / "linear.png", icc_profile=display_profile())
    expected = encode_srgb(grey / 255) * 255
    assert np.abs(as_array(read_photo(path)) - expected).max() <= 1.5


def test_profile_with_exchanged_primaries_exchanges_channels(tmp_path: Path) -> None:
    path = save(
        Image.fromarray(scene()), tmp_path / "swapped.png", icc_profile=display_profile(("g", "r", "b"))
    )
    expected = encode_srgb(scene()[..., [1, 0, 2]] / 255) * 255
    assert np.abs(as_array(read_photo(path)) - expected).max() <= 2


def test_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = save(Image.fromarray(scene(64, 64)), tmp_path / "srgb.png", icc_profile=profile)
    assert np.array_equal(as_array(read_photo(path)), scene(64, 64))


def test_profile_that_is_srgb_up_to_rounding_changes_nothing(tmp_path: Path) -> None:
    levels = np.linspace(0, 1, 256)
    curve = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4).tolist()
    path = save(
        Image.fromarray(scene(64, 64)), tmp_path / "near.png", icc_profile=display_profile(tone_curve=curve)
    )
    assert np.array_equal(as_array(read_photo(path)), scene(64, 64))


def test_greyscale_with_an_rgb_profile_is_converted_too(tmp_path: Path) -> None:
    grey = scene()[..., 0]
    path = save(Image.fromarray(grey), tmp_path / "grey.jpg", quality=100, icc_profile=display_profile())
    with Image.open(path) as image:
        expected = encode_srgb(np.asarray(image) / 255) * 255
    assert np.abs(as_array(read_photo(path)) - expected[..., None]).max() <= 1.5


@pytest.mark.parametrize("profile", [b"no profile", display_profile()[:200]])
def test_damaged_profile_is_ignored(tmp_path: Path, profile: bytes) -> None:
    path = save(Image.fromarray(scene()), tmp_path / "damaged.png", icc_profile=profile)
    assert np.array_equal(as_array(read_photo(path)), scene())


def test_profile_of_another_colour_space_is_ignored(tmp_path: Path) -> None:
    cmyk = Image.fromarray(np.dstack([scene(), scene()[..., 0]]), "CMYK")
    path = save(cmyk, tmp_path / "cmyk.tif", icc_profile=display_profile())
    assert np.array_equal(as_array(read_photo(path)), np.asarray(cmyk.convert("RGB")))


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_16_bit_greyscale_covers_the_whole_range(tmp_path: Path, extension: str) -> None:
    levels = np.arange(256, dtype=np.uint16)[None]
    for scale in (256, 257):  # both ways in which 8 bits are stored in 16
        path = save(Image.fromarray(levels * np.uint16(scale)), tmp_path / f"deep{scale}.{extension}")
        photo = as_array(read_photo(path))
        assert np.array_equal(photo, np.repeat(levels[..., None], 3, axis=2))


def test_16_bit_colour_and_greyscale_agree(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    deep = np.random.default_rng(1).integers(0, 65536, (5, 7), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "grey.tif", deep)
    tifffile.imwrite(tmp_path / "colour.tif", np.repeat(deep[..., None], 3, axis=2), photometric="rgb")
    grey, colour = read_photo(tmp_path / "grey.tif"), read_photo(tmp_path / "colour.tif")
    assert torch.equal(grey, colour)
    assert np.abs(as_array(grey)[..., 0] - deep / 257).max() < 1


def test_16_bit_colour_png(tmp_path: Path) -> None:
    (tmp_path / "deep.png").write_bytes(png_16_bit(scene().astype(np.uint16) * 257))
    assert np.array_equal(as_array(read_photo(tmp_path / "deep.png")), scene())


def png_16_bit(pixels: np.ndarray) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">2I5B", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_floating_point_tiff_is_taken_for_zero_to_one(tmp_path: Path) -> None:
    samples = np.array([[0, 0.5, 1, 2, -1, np.nan]], dtype=np.float32)
    path = save(Image.fromarray(samples), tmp_path / "float.tif")
    assert as_array(read_photo(path))[0, :, 0].tolist() == [0, 128, 255, 255, 0, 0]


def test_greyscale_and_bilevel_are_repeated_in_three_channels(tmp_path: Path) -> None:
    grey = scene()[..., 0]
    photo = as_array(read_photo(save(Image.fromarray(grey), tmp_path / "grey.png")))
    assert np.array_equal(photo, np.repeat(grey[..., None], 3, axis=2))
    bilevel = as_array(read_photo(save(Image.fromarray(grey > 99), tmp_path / "bilevel.png")))
    assert np.array_equal(bilevel[..., 1], np.where(grey > 99, 255, 0))


@pytest.mark.filterwarnings("error")
def test_palette_with_transparency_gives_its_colours(tmp_path: Path) -> None:
    palette = Image.fromarray(scene(4, 4)).quantize(8)
    expected = np.asarray(palette.convert("RGB"))
    path = save(palette, tmp_path / "palette.png", transparency=bytes([0, 128, 255]))
    assert np.array_equal(as_array(read_photo(path)), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_not_composited(tmp_path: Path, mode: str) -> None:
    opaque = Image.fromarray(scene()).convert("RGB" if mode == "RGBA" else "L")
    transparent = opaque.copy()
    transparent.putalpha(Image.fromarray(scene(seed=5)[..., 0]))
    path = save(transparent, tmp_path / "transparent.png")
    assert np.array_equal(as_array(read_photo(path)), np.asarray(opaque.convert("RGB")))


def test_cmyk_without_profile(tmp_path: Path) -> None:
    ink = np.random.default_rng(2).integers(0, 256, (4, 5, 4), dtype=np.uint8)
    path = save(Image.fromarray(ink, "CMYK"), tmp_path / "cmyk.tif")
    expected = (255 - ink[..., :3].astype(float)) * (255 - ink[..., 3:].astype(float)) / 255
    assert np.abs(as_array(read_photo(path)) - expected).max() <= 1


def test_truncated_photo_says_where_and_why(tmp_path: Path) -> None:
    path = save(Image.fromarray(scene(64, 64)), tmp_path / "cut.jpg")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UnreadablePhoto, match="truncated") as caught:
        read_photo(path)
    assert caught.value.path == path
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, ConfigurationError)


def test_other_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("not a photograph")
    damaged = save(Image.fromarray(scene(32, 32)), tmp_path / "damaged.png")
    content = bytearray(damaged.read_bytes())
    content[60:200] = bytes(140)
    damaged.write_bytes(content)
    for name in ("empty.png", "text.jpg", "damaged.png", "missing.png"):
        with pytest.raises(UnreadablePhoto):
            read_photo(tmp_path / name)


def test_error_survives_the_way_out_of_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(UnreadablePhoto(Path("a.jpg"), "truncated")))
    assert (error.path, error.reason) == (Path("a.jpg"), "truncated")


def test_resize_is_pillows_bicubic() -> None:
    photo = torch.from_numpy(scene(20, 31)).permute(2, 0, 1)
    square = resize_photo(photo, 8)
    expected = Image.fromarray(scene(20, 31)).resize((8, 8), Image.Resampling.BICUBIC)
    assert np.array_equal(as_array(square), np.asarray(expected))
    assert resize_photo(photo, (8, 12)).shape == (3, 8, 12)
    assert torch.equal(resize_photo(photo, (20, 31)), photo)


def test_png_round_trip(tmp_path: Path) -> None:
    photo = torch.from_numpy(scene()).permute(2, 0, 1)
    write_png(tmp_path / "integers.png", photo)
    assert torch.equal(read_photo(tmp_path / "integers.png"), photo)
    for error in (-0.0015, 0.0015):  # less than half a level
        write_png(tmp_path / "floats.png", photo / 255 + error)
        assert torch.equal(read_photo(tmp_path / "floats.png"), photo)
    write_png(tmp_path / "floats.png", torch.full((3, 2, 2), 7.0))
    assert read_photo(tmp_path / "floats.png").unique().tolist() == [255]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["floats.png", "integers.png"]

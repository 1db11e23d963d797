"""Any photograph file to its pixels at full depth, with all that is kept beside them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, JpegImagePlugin

from relit.data.decoding import UnreadablePhoto, upright_turn, why_unreadable
from relit.photo_file.colour import describes
from relit.photo_file.deep_samples import read_deep_samples
from relit.photo_file.metadata import kept_exif, read_metadata
from relit.photo_file.photograph import Photograph

MAX_PIXELS = 178_956_970
"""What Pillow, too, takes for an attack on the memory above it."""

ANIMATED = ("GIF", "PNG", "WEBP")
"""Formats in which several pictures are an animation; in others they are pages, or a camera's extras."""

_TURNS = {
    Image.Transpose.FLIP_LEFT_RIGHT: lambda pixels: pixels[:, ::-1],
    Image.Transpose.FLIP_TOP_BOTTOM: lambda pixels: pixels[::-1],
    Image.Transpose.ROTATE_90: lambda pixels: np.rot90(pixels, 1),
    Image.Transpose.ROTATE_180: lambda pixels: pixels[::-1, ::-1],
    Image.Transpose.ROTATE_270: lambda pixels: np.rot90(pixels, -1),
    Image.Transpose.TRANSPOSE: lambda pixels: pixels.swapaxes(0, 1),
    Image.Transpose.TRANSVERSE: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
}


def read_photograph(path: Path | str, max_pixels: int = MAX_PIXELS) -> Photograph:
    """Read a photograph, upright, with nothing of it converted that need not be.

    * 16-bit samples of PNG and TIFF files stay as they are. Floating-point samples are taken for [0, 1] and
      given 16 bits; 32-bit integers are taken for 16-bit ones.
    * Grey stays grey, also in one bit; palettes are resolved. CMYK stays CMYK.
    * Alpha, or a transparent colour or palette entry, is kept beside the colours, which it does not change.
    * An ICC profile is kept where it describes the pixels; a damaged or foreign one is not.
    * Of several pages or pictures the first is read; an animation is no photograph.
    * Kinds of TIFF that Pillow does not know are no photographs: 16-bit grey with alpha, floating-point RGB.

    Args:
        path: the file.
        max_pixels: a file of more is not decoded.

    Raises:
        UnreadablePhoto: the file is missing, empty, truncated, corrupt, too large, animated, or no image.
    """
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            raise UnreadablePhoto(path, "an empty file")
        # Not by its name: Pillow would map a TIFF file into memory, and garble it where it is to be turned.
        with _guarded(max_pixels) as caught, path.open("rb") as file, Image.open(file) as image:
            photo = _read(path, image)
    except (MemoryError, UnreadablePhoto):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadablePhoto(path, f"of more than {max_pixels:,} pixels, see --max-pixels") from error
    except Exception as error:  # decoders raise almost anything on corrupt data
        raise UnreadablePhoto(path, why_unreadable(error)) from error
    if any("EXIF" in str(warning.message) for warning in caught):
        return _remarked(photo, "has damaged EXIF data, which are kept in part")
    return photo


@contextmanager
def _guarded(max_pixels: int) -> Iterator[list[warnings.WarningMessage]]:
    """Pillow refuses more than ``max_pixels``, and its other warnings are collected."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield caught
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _read(path: Path, image: Image.Image) -> Photograph:
    turn = upright_turn(image)
    pictures = getattr(image, "n_frames", 1)
    if pictures > 1 and image.format in ANIMATED:
        raise UnreadablePhoto(path, f"an animation of {pictures} pictures; save one of them as a photograph")
    profile = image.info.get("icc_profile")
    image.load()
    deep = read_deep_samples(path, image)
    # Pillow turns some files itself when it loads them
    samples, alpha = _turned(deep, turn) if deep else _turned(_samples(image), upright_turn(image))
    height, width, channels = samples.shape
    photo = Photograph(
        samples,
        alpha,
        profile=profile if profile and describes(profile, channels) else None,
        metadata=read_metadata(image),
        subsampling=_subsampling(image),
    )
    if pictures > 1:
        photo = _remarked(photo, f"holds {pictures} pictures, of which the first is enhanced")
    if image.mode == "F":
        photo = _remarked(photo, "has floating-point samples, which become 16-bit ones")
    try:
        exif = kept_exif(image.getexif(), width, height)
    except Exception:  # damaged EXIF must not cost the photograph
        return _remarked(photo, "has damaged EXIF data, which are not kept")
    return replace(photo, metadata=replace(photo.metadata, exif=exif))


def _samples(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours and alpha of a loaded image, not turned: 16 bits where its mode has more than 8."""
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image)).clip(0, 1)
        return np.rint(values * 65535.0).astype(np.uint16)[..., None], None
    if image.mode == "I" or image.mode.startswith("I;16"):
        return np.asarray(image).clip(0, 65535).astype(np.uint16)[..., None], None
    pixels = np.asarray(image.convert(_plain_mode(image)))
    if pixels.ndim == 2:
        return pixels[..., None], None
    if pixels.shape[2] == 3 or image.mode == "CMYK":
        return pixels, None
    return pixels[..., :-1], pixels[..., -1]


def _plain_mode(image: Image.Image) -> str:
    """The mode among L, LA, RGB, RGBA and CMYK that holds an image of 8 bits or fewer without loss."""
    if image.mode == "CMYK":
        return "CMYK"
    colour = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    return f"{colour}A" if image.has_transparency_data else colour


def _turned(
    pixels: tuple[np.ndarray, np.ndarray | None], turn: Image.Transpose | None
) -> tuple[np.ndarray, np.ndarray | None]:
    if turn is None:
        return pixels
    samples, alpha = pixels
    return _TURNS[turn](samples), None if alpha is None else _TURNS[turn](alpha)


def _subsampling(image: Image.Image) -> int | None:
    known = JpegImagePlugin.get_sampling(image)
    return None if known < 0 else known


def _remarked(photo: Photograph, remark: str) -> Photograph:
    return replace(photo, remarks=(*photo.remarks, remark))

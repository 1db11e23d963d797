"""The one decoder: any photograph file to an upright 8-bit sRGB Pillow image, and what its header says."""

from __future__ import annotations

import io
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import ExifTags, Image, ImageCms

from relit.errors import ConfigurationError

# What undoes each EXIF orientation. 1 is upright; anything that is not here is treated as 1.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Those that exchange height and width.
_TURNING = {
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
}
# What the last bytes of a whole file hold, by Pillow's name of the format.
_ENDINGS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
# The Pillow mode whose pixels an ICC profile of this colour space describes.
_MODE_OF_COLOUR_SPACE = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


class UnusablePhoto(ConfigurationError):  # noqa: N818 (says what is wrong, not that something is)
    """A photograph that can't be used.

    A loader's worker hands over an exception as the text of its traceback, of which the loader in the
    training process makes one of the same class: of that text the last line is the message.

    Args:
        path: the file, or such a text.
        reason: why it can't be used; None with such a text.
    """

    says: ClassVar[str] = "{path} can't be used ({reason})"

    def __init__(self, path: Path | str, reason: str | None = None) -> None:
        super().__init__(path, reason)
        self.path = Path(path)
        self.reason = reason
        self._text = str(path)

    def __str__(self) -> str:
        if self.reason is None:
            return self._text.strip().splitlines()[-1].partition(": ")[2]
        return self.says.format(path=self.path, reason=self.reason)


class UnreadablePhoto(UnusablePhoto):
    """A file that should be a photograph and cannot be decoded: ``path`` and the ``reason``."""

    says = "{path} cannot be read as a photograph ({reason}): replace or remove the file"


# Whoever changes the pixels that come out counts up the decoder's version in cache.py.
def decode(path: Path | str) -> Image.Image:
    """Decode a photograph to 8-bit sRGB, upright.

    * EXIF orientation is applied.
    * An embedded ICC profile is converted to sRGB (relative colorimetric, black point compensation); a
      damaged profile, or one of another colour space than the pixels, is ignored. Without a profile RGB is
      taken for sRGB.
    * 16-bit samples keep their high byte (what Pillow itself does with 16-bit colour), floating-point samples
      are taken for [0, 1].
    * Greyscale is repeated in three channels, palettes are resolved, CMYK without a profile is converted by
      (1 - C)(1 - K).
    * Alpha is dropped, not composited: the colour under a transparent pixel is kept.
    * Of several frames the first is read.

    Returns: an image of mode RGB.
    Raises: :class:`UnreadablePhoto` for a missing, truncated or corrupt file.
    """
    path = Path(path)
    try:
        # by name, Pillow maps uncompressed TIFFs into memory, and those that are turned with exchanged sides
        with path.open("rb") as file, Image.open(file) as image:
            image.load()
            upright = upright_turn(image)
            rgb = _to_srgb(_plain(image), image.info.get("icc_profile"))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise almost anything on corrupt data
        raise UnreadablePhoto(path, why_unreadable(error)) from error
    return rgb if upright is None else rgb.transpose(upright)


def header_size(path: Path | str) -> tuple[int, int]:
    """Height and width of a photograph, upright, without decoding it.

    A file cut off by an interrupted copy or download is found too, where its format ends with a mark (JPEG,
    PNG); other damage shows only when it is decoded, and so does a cut behind the preview in a small JPEG.

    Raises: :class:`UnreadablePhoto`.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = upright_turn(image) in _TURNING
            ending = _ENDINGS.get(image.format or "")
        if ending is not None and not _ends_with(path, ending):
            raise UnreadablePhoto(path, "cut off before its end")
    except (MemoryError, UnreadablePhoto):
        raise
    except Exception as error:  # Pillow's decoders raise almost anything on corrupt data
        raise UnreadablePhoto(path, why_unreadable(error)) from error
    return (width, height) if turned else (height, width)


def _ends_with(path: Path, mark: bytes) -> bool:
    """Whether ``mark`` stands in the last 64 KiB: cameras and editors append previews and padding."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 65536))
        return mark in file.read()


def upright_turn(image: Image.Image) -> Image.Transpose | None:
    """What makes the pixels as they are stored upright; None where they are, or where EXIF is damaged."""
    try:
        return _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF must not cost the photograph
        return None


def _plain(image: Image.Image) -> Image.Image:
    """The same pixels as 8-bit RGB, L or CMYK: no palette, no alpha, no deeper samples."""
    if image.mode == "F":
        samples = np.nan_to_num(np.asarray(image)).clip(0, 1)
        return Image.fromarray((samples * 255).round().astype(np.uint8))
    if image.mode == "I" or image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode in ("RGB", "L", "CMYK"):
        return image
    if image.mode in ("1", "LA", "La"):
        return image.convert("LA" if image.mode == "La" else "L").convert("L")
    if image.mode in ("P", "PA"):
        # Through RGBA, because Pillow warns when a palette with transparency goes straight to RGB.
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGBA" if image.mode == "RGBa" else "RGB").convert("RGB")


def _to_srgb(image: Image.Image, profile_bytes: bytes | None) -> Image.Image:
    """Convert ``image`` (RGB, L or CMYK) from its profile to sRGB."""
    if not profile_bytes:
        return image.convert("RGB")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(profile_bytes))
        mode = _MODE_OF_COLOUR_SPACE.get(profile.profile.xcolor_space.strip())
        if mode == "RGB" and image.mode == "L":  # a greyscale file that carries its editor's RGB profile
            image = image.convert("RGB")
        if mode != image.mode:
            return image.convert("RGB")
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode == "RGB" and _is_identity(transform):
            return image
        return ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB")


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a profile is sRGB up to rounding: converting it would only add rounding errors."""
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    lattice = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(27, 27, 3)
    probe = Image.fromarray(lattice)
    converted = ImageCms.applyTransform(probe, transform)
    return bool(np.abs(np.asarray(converted, dtype=np.int16) - lattice).max() <= 1)


def why_unreadable(error: Exception) -> str:
    """The reason for a person, of an error that was raised while a photograph was read."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image, or of an unknown format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__

"""The formats that results are written in, and what each can hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PhotoFormat:
    """A file format.

    Attributes:
        title: what people call it.
        extensions: of its files, the usual one first.
        deep: whether it holds 16 bits per sample.
        alpha: whether it holds alpha.
        lossy: whether its files have a quality.
        max_side: the most pixels along a side.
        max_block: the most bytes of EXIF data, and of XMP.
    """

    title: str
    extensions: tuple[str, ...]
    deep: bool = False
    alpha: bool = False
    lossy: bool = False
    max_side: int = 2**31 - 1
    max_block: int = 2**31 - 1


FORMATS = {
    "jpeg": PhotoFormat(
        "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), lossy=True, max_side=65_500, max_block=65_500
    ),
    "png": PhotoFormat("PNG", (".png",), deep=True, alpha=True),
    "tiff": PhotoFormat("TIFF", (".tif", ".tiff"), deep=True, alpha=True),
    "webp": PhotoFormat("WebP", (".webp",), alpha=True, lossy=True, max_side=16_383),
}


def format_of(path: Path) -> str:
    """The format of a result for a photograph of this name: its own, or PNG for any other (BMP)."""
    extension = path.suffix.lower()
    return next((name for name, kind in FORMATS.items() if extension in kind.extensions), "png")


def named_for(path: Path, name: str) -> Path:
    """``path`` with an extension of the format; its own, in its own case, where that is one."""
    extensions = FORMATS[name].extensions
    return path if path.suffix.lower() in extensions else path.with_suffix(extensions[0])

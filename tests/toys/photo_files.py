"""Photograph files of every depth, written by other means than Relit's own."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image

TURNS = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
"""What makes pixels upright that are stored with an EXIF orientation."""


def levels(shape: tuple[int, ...], dtype: type[np.unsignedinteger], seed: int = 0) -> np.ndarray:
    """Random levels over the whole range."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def write_deep(path: Path, pixels: np.ndarray, orientation: int = 1) -> Path:
    """A 16-bit PNG or TIFF file of (H, W, C) pixels: grey or RGB, then alpha. PNG files are not turned."""
    if path.suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))
        return path
    channels = pixels.shape[2]
    tifffile.imwrite(
        path,
        pixels if channels > 1 else pixels[..., 0],
        photometric="rgb" if channels >= 3 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        extratags=[(ExifTags.Base.Orientation, "H", 1, orientation, True)],
        metadata=None,
    )
    return path


def stored_pixels(path: Path) -> np.ndarray:
    """All channels of a PNG, TIFF or WebP file at their own depth: (H, W, C)."""
    if path.suffix.lower() in (".tif", ".tiff"):
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            return page.asarray().reshape(page.shaped)[0, 0]
    if path.suffix.lower() == ".png" and path.read_bytes()[24] == 16:
        return np.atleast_3d(imagecodecs.png_decode(path.read_bytes()))
    with Image.open(path) as image:
        return np.atleast_3d(np.asarray(image))

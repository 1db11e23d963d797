"""16-bit samples of PNG and TIFF files, of which Pillow, which reads all else, keeps 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

_BITS_PER_SAMPLE = 258
# Channels of a TIFF's colours by its photometric interpretation: white is zero, black is zero, RGB, CMYK.
_COLOURS = {0: 1, 1: 1, 2: 3, 5: 4}
_WHITE_IS_ZERO = 0
_ASSOCIATED, _UNASSOCIATED = 1, 2


def read_deep_samples(path: Path, image: Image.Image) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Colours and alpha of a 16-bit PNG or TIFF file as they are stored, not turned upright.

    Args:
        path: the file.
        image: the same file, opened by Pillow.

    Returns:
        uint16, shapes (H, W, C) and (H, W), alpha not premultiplied, or None in its place; None for a file
        of another depth or format.
    """
    if image.format == "PNG" and _png_depth(path) == 16:
        return _read_png(path)
    if image.format == "TIFF" and 16 in getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, ()):
        return _read_tiff(path)
    return None


def _png_depth(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(25)[24]


def _read_png(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    from imagecodecs import png_decode

    samples = np.atleast_3d(png_decode(path.read_bytes()))
    if samples.shape[2] in (2, 4):
        return samples[..., :-1], samples[..., -1]
    return samples, None


def _read_tiff(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Samples are dropped that are neither colours nor what the file declares as alpha."""
    from tifffile import TiffFile

    with TiffFile(path) as file:
        page = file.pages.first
        colours = _COLOURS.get(page.photometric)
        if page.dtype != np.uint16 or colours is None:
            raise ValueError("a TIFF file of a kind of 16-bit samples that is not supported")
        planes, _, height, width, _ = page.shaped
        samples = page.asarray().reshape(page.shaped)[:, 0]
        extra = page.extrasamples[0] if page.extrasamples else None
        white_is_zero = page.photometric == _WHITE_IS_ZERO
    samples = np.moveaxis(samples, 0, 2).reshape(height, width, -1) if planes > 1 else samples[0]
    colour = 65535 - samples[..., :colours] if white_is_zero else samples[..., :colours]
    if extra not in (_ASSOCIATED, _UNASSOCIATED):
        return colour, None
    alpha = samples[..., colours]
    return (_straight(colour, alpha) if extra == _ASSOCIATED else colour), alpha


def _straight(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours that were multiplied by alpha, divided by it; where it is 0 they stay as they are."""
    share = np.where(alpha == 0, 65535, alpha)[..., None]
    return np.minimum((colour.astype(np.uint64) * 65535 + share // 2) // share, 65535).astype(np.uint16)

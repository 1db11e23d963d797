"""One photograph as a tensor: reading, resizing, and writing PNG."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from relit.atomic import atomic_write
from relit.data.decoding import decode


def read_photo(path: Path | str) -> Tensor:
    """Decode a photograph to 8-bit sRGB, upright, as :func:`~relit.data.decoding.decode` does.

    Returns: uint8, shape (3, H, W).
    Raises: :class:`~relit.data.decoding.UnreadablePhoto` for a missing, truncated or corrupt file.
    """
    return _tensor(decode(path))


def resize_photo(image: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Resize with Pillow's bicubic filter, which widens when it shrinks (antialiasing).

    Args:
        image: uint8, shape (3, H, W).
        size: (height, width), or one number for a square; the aspect ratio is not kept.

    Returns: uint8, shape (3, height, width); ``image`` itself when it has this size already.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if image.shape[-2:] == (height, width):
        return image
    return _tensor(_pillow(image).resize((width, height), Image.Resampling.BICUBIC))


def write_png(path: Path | str, image: Tensor) -> None:
    """Write an RGB image as an 8-bit PNG, whole or not at all.

    Args:
        image: shape (3, H, W): uint8, or float in [0, 1], which is clamped and rounded to 8 bits.
    """
    if image.is_floating_point():
        image = image.detach().clamp(0, 1).mul(255).round().to(torch.uint8)
    encoded = io.BytesIO()
    _pillow(image).save(encoded, format="PNG")
    atomic_write(Path(path), encoded.getvalue())


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _pillow(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).cpu().contiguous().numpy())

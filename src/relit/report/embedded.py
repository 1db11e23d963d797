"""Pictures inside the page: data URIs of bounded size."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from relit.data.reader import Resize

# the first that fits
_SETTINGS = ((1024, 88), (1024, 80), (1024, 65), (1024, 50), (768, 50), (512, 50), (384, 40))


def embed(pictures: Sequence[Tensor], most_bytes: int) -> list[str]:
    """``data:`` URIs of pictures, WebP, all by one setting.

    Args:
        pictures: uint8 (3, H, W) each. Above a long side of 1024 they are reduced to it.
        most_bytes: what all of them may take before base64 adds a third. Quality, then size give way until
            they fit; what does not fit at the lowest setting stays larger.
    """
    for long_side, quality in _SETTINGS:
        encoded = [_webp(Resize(long_side=long_side)(picture), quality) for picture in pictures]
        if sum(map(len, encoded)) <= most_bytes:
            break
    return [f"data:image/webp;base64,{base64.b64encode(content).decode()}" for content in encoded]


def _webp(picture: Tensor, quality: int) -> bytes:
    buffer = io.BytesIO()
    to_pil_image(picture.to(torch.uint8)).save(buffer, format="WEBP", quality=quality)
    return buffer.getvalue()

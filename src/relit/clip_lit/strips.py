"""Photographs divided by the map of a reduced one, some rows at a time.

What :mod:`relit.clip_lit.guided` computes at full size is little work on much memory: blurred luminance, two
upsampled coefficients, a line. For a strip of rows all that fits into the processor's cache. Beside the
result lie the two coefficients at full height, but at the reduced width. Without gradients; training sees the
whole map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from relit.clip_lit.guided import BLUR, EPS, RADIUS, linear_model, luminance, padding_of_reduced
from relit.clip_lit.network import divisor
from relit.clip_lit.running_mean import counts, running_mean, window_sums

PIXELS = 2**18
"""Of a strip, of all photographs of a batch together, where it has more than a row."""

PIXELS_ON_GPU = 2**25
"""On any other device, where a strip must be worth its launches."""


@torch.no_grad()
def enhance_at_scale(
    photos: Tensor, scale: int, illumination: Callable[[Tensor], Tensor], multiple: int = 1
) -> Tensor:
    """I_t by :func:`~relit.clip_lit.guided.map_of_reduced`, up to rounding.

    Args:
        photos: I_b, (B, 3, H, W) in [0, 1].
        scale, illumination, multiple: as there.

    Returns:
        I_t, (B, 3, H, W) in [0, 1].
    """
    padding = padding_of_reduced(photos.shape[-2:], scale, multiple)
    reduced = _means(photos, scale, padding)
    return enhance_in_strips(photos, reduced, illumination(reduced), padding)


@torch.no_grad()
def enhance_in_strips(
    photos: Tensor, reduced: Tensor, small: Tensor, padding: tuple[int, int] = (0, 0)
) -> Tensor:
    """I_t by :func:`~relit.clip_lit.guided.guided_upsampling` of the map of reduced photographs.

    Args:
        photos: I_b, (B, 3, H, W) in [0, 1].
        reduced: (B, 3, h, w), made of I_b and, below and to the right, repetitions of its border.
        small: the map of ``reduced``, (B, 1, h, w).
        padding: rows and columns of these repetitions.

    Returns:
        I_t, (B, 3, H, W) in [0, 1].
    """
    height, width = (side + more for side, more in zip(photos.shape[-2:], padding, strict=True))
    small = small.to(photos.dtype)
    low, high = small.amin((1, 2, 3), keepdim=True), small.amax((1, 2, 3), keepdim=True)
    small_guide = running_mean(luminance(reduced), BLUR)
    lines = torch.cat(linear_model(small, small_guide, RADIUS, EPS, running_mean), dim=1)
    lines = F.interpolate(lines, (height, lines.shape[-1]), mode="bilinear")
    result = torch.empty_like(photos)
    for rows, guide in _guides(photos, padding):
        # from rows to as many, which leaves them as they are
        upsampled = F.interpolate(lines[..., rows, :], (rows.stop - rows.start, width), mode="bilinear")
        slope, offset = upsampled[..., : photos.shape[-1]].split(1, dim=1)
        line = slope.mul_(guide).add_(offset)
        # as clamp does, which is slower with bounds in tensors
        illumination = torch.minimum(torch.maximum(line, low, out=line), high, out=line)
        torch.div(photos[..., rows, :], divisor(illumination), out=result[..., rows, :]).clamp_(0, 1)
    return result


def _guides(photos: Tensor, padding: tuple[int, int]) -> Iterator[tuple[slice, Tensor]]:
    """Rows, and the blurred luminance there of photographs whose border is repeated, (B, 1, n, W)."""
    height, width = photos.shape[-2:]
    below, right = (min(more, BLUR) for more in padding)  # no window sees more
    along = counts(height + below, BLUR, like=photos)[:height, None]
    across = counts(width + right, BLUR, like=photos)[:width]
    for rows in _strips(photos):
        first, last = rows.start - BLUR, rows.stop + BLUR
        light = luminance(photos[..., max(first, 0) : last, :])
        repeated = min(max(last - height, 0), below)
        if repeated or right:
            light = F.pad(light, (0, right, 0, repeated), mode="replicate")
        above = max(-first, 0)
        missing = last - first - above - light.shape[-2]
        light = F.pad(light, (BLUR, BLUR - right, above, missing))
        sums = window_sums(window_sums(light, BLUR, dim=-2), BLUR, dim=-1)
        yield rows, sums.div_(along[rows]).div_(across)


def _means(photos: Tensor, scale: int, padding: tuple[int, int]) -> Tensor:
    """``F.avg_pool2d`` of photographs whose lower and right borders are repeated."""
    height, width = photos.shape[-2:]
    below, right = padding
    if not below and not right:
        return F.avg_pool2d(photos, scale)
    reduced = photos.new_empty(*photos.shape[:2], (height + below) // scale, (width + right) // scale)
    for rows in _strips(photos, scale):
        more = below if rows.stop == height else 0
        strip = F.pad(photos[..., rows, :], (0, right, 0, more), mode="replicate")
        places = slice(rows.start // scale, (rows.stop + more) // scale)
        reduced[..., places, :] = F.avg_pool2d(strip, scale)
    return reduced


def _strips(photos: Tensor, multiple: int = 1) -> Iterator[slice]:
    """Rows that cover the photographs once; all strips begin at multiples of ``multiple``."""
    batch, _, height, width = photos.shape
    pixels = PIXELS if photos.device.type == "cpu" else PIXELS_ON_GPU
    step = max(pixels // (batch * width * multiple), 1) * multiple
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))

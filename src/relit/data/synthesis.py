"""Exposure faults, made in linear light and with a camera's order of events.

Scene radiance is scaled (one exposure value for the photo, or a map of them for a backlit one), the sensor
adds shot and read noise, clips at white, and the result is encoded as sRGB with 8 bits. All functions are
batched and run on the device of their input; random numbers come from the generator that is handed over.
"""

from __future__ import annotations

import torch
from kornia.color import linear_rgb_to_rgb, rgb_to_linear_rgb
from torch import Tensor
from torch.nn import functional as F


def to_linear(image: Tensor) -> Tensor:
    """sRGB in [0, 1] to linear light in [0, 1], (..., 3, H, W)."""
    return rgb_to_linear_rgb(image)


def to_srgb(linear: Tensor) -> Tensor:
    """Linear light to sRGB in [0, 1], (..., 3, H, W); values above 1 are clipped as a sensor does."""
    return linear_rgb_to_rgb(linear.clamp(0, 1)).clamp(0, 1)


def expose(linear: Tensor, ev: Tensor) -> Tensor:
    """Scale radiance (B, 3, H, W) by 2**ev; ``ev`` in stops, (B, 1, 1, 1) or a map (B, 1, H, W)."""
    return linear * torch.exp2(ev)


def sensor(linear: Tensor, noise: Tensor, shot: float = 2e-4, read: float = 5e-4) -> Tensor:
    """Add shot noise (variance proportional to the signal) and read noise, then clip to [0, 1].

    Args:
        linear: radiance, white at 1.
        noise: standard normal numbers of the same shape.
        shot: variance of the shot noise at white.
        read: standard deviation of the read noise.
    """
    deviation = (shot * linear.clamp(min=0) + read**2).sqrt()
    return (linear + deviation * noise).clamp(0, 1)


def quantise(image: Tensor) -> Tensor:
    """Round to the 256 levels of an 8-bit file; values stay in [0, 1]."""
    return (image * 255).round() / 255


def smooth_field(generator: torch.Generator, count: int, size: tuple[int, int], cells: int = 3) -> Tensor:
    """Smooth random fields, (count, 1, H, W): a coarse grid of unit variance, interpolated bicubically."""
    grid = torch.randn(count, 1, cells, cells, generator=generator)
    return F.interpolate(grid, size, mode="bicubic", align_corners=True)


def backlight_map(
    linear: Tensor,
    generator: torch.Generator,
    foreground_ev: tuple[float, float],
    background_ev: tuple[float, float],
) -> Tensor:
    """Exposure values, in stops, of backlit versions of ``linear`` (B, 3, H, W): (B, 1, H, W).

    Light from behind leaves bright regions bright and the rest in the shade: the shade is where a smooth
    random field, lowered by the scene's own coarse luminance, is high. Both exposure values are drawn
    uniformly from their ranges, per photo.
    """
    count, _, height, width = linear.shape
    luminance = linear.mean(1, keepdim=True).clamp(0, 1)
    coarse = F.interpolate(
        F.adaptive_avg_pool2d(luminance, 8), (height, width), mode="bicubic", align_corners=False
    )
    coarse = (coarse - coarse.mean((2, 3), keepdim=True)) / (coarse.std((2, 3), keepdim=True) + 1e-4)
    field = smooth_field(generator, count, (height, width)).to(linear) - coarse + 0.6
    shade = torch.sigmoid(3 * field)
    low, high = (_uniform(generator, count, *ev).to(linear) for ev in (foreground_ev, background_ev))
    return shade * low + (1 - shade) * high


def backlit(
    image: Tensor,
    generator: torch.Generator,
    foreground_ev: tuple[float, float] = (-3.0, -1.5),
    background_ev: tuple[float, float] = (-0.7, 0.2),
) -> Tensor:
    """Backlit 8-bit versions of well-lit photos: sRGB (B, 3, H, W) in [0, 1] in, the same out."""
    linear = to_linear(image)
    ev = backlight_map(linear, generator, foreground_ev, background_ev)
    noise = torch.randn(image.shape, generator=generator).to(image)
    return quantise(to_srgb(sensor(expose(linear, ev), noise)))


def _uniform(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)

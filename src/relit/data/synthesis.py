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

KNEE = 0.35
"""Linear light from which on cameras compress; with two stops of headroom it fits real brackets best."""


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
    return add_noise(linear, noise, shot, read).clamp(0, 1)


def add_noise(linear: Tensor, noise: Tensor, shot: float | Tensor, read: float | Tensor) -> Tensor:
    """Shot and read noise of a sensor that is not full yet; arguments as those of :func:`sensor`."""
    deviation = (shot * linear.clamp(min=0) + read**2).sqrt()
    return linear + deviation * noise


def open_highlights(linear: Tensor, headroom: Tensor) -> Tensor:
    """Undo :func:`shoulder`: a photograph's linear light in [0, 1] to scene light in [0, 2**headroom]."""
    bend = (torch.exp2(headroom) - 1) / (1 - KNEE)
    above = ((linear - KNEE) / (1 - KNEE)).clamp(min=0)
    return linear + (1 - KNEE) * bend * above.square()


def shoulder(scene: Tensor, headroom: Tensor) -> Tensor:
    """How a camera renders highlights: scene light (B, 3, H, W) to a photograph's linear light in [0, 1].

    Light up to :data:`KNEE` is kept, more is compressed smoothly, and what reaches ``2**headroom`` is white.

    Args:
        scene: scene light; negative values are black.
        headroom: stops between 1 and the light that is rendered white, (B, 1, 1, 1); 0 only clips.
    """
    bend = (torch.exp2(headroom) - 1) / (1 - KNEE)
    above = ((scene - KNEE) / (1 - KNEE)).clamp(min=0)
    compressed = 2 * above / (1 + (1 + 4 * bend * above).sqrt())
    return (scene.clamp(max=KNEE) + (1 - KNEE) * compressed).clamp(0, 1)


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


def shade_map(photo: Tensor, field: Tensor) -> Tensor:
    """Which part of a backlit photo lies in the shade: 0 in the light, 1 in the shade, (B, 1, H, W).

    As in :func:`backlight_map` it is where the field is high and the photo is dark, but it ends where
    objects do, without halos around them.

    Args:
        photo: well-lit sRGB in [0, 1], (B, 3, H, W).
        field: a smooth random field of unit variance, (B, 1, H, W).
    """
    brightness = smooth_within_edges(photo.mean(1, keepdim=True))
    # of few cells, so that the sums' order, and with it a photo's shade, does not depend on its batch
    cells = F.adaptive_avg_pool2d(brightness, 64)
    mean = cells.mean((2, 3), keepdim=True)
    spread = (cells - mean).square().mean((2, 3), keepdim=True).sqrt()
    # a photo of little contrast is left to the field
    relief = (brightness - mean) / (spread + 0.05)
    return torch.sigmoid(3 * (0.7 * field - 1.5 * relief + 0.6))


def smooth_within_edges(image: Tensor, cells: int = 64, reach: int = 6, texture: float = 0.15) -> Tensor:
    """A guided filter, guided by the image itself: flattens texture and keeps the edges of objects.

    Args:
        image: (B, 1, H, W) in [0, 1].
        cells: the filter's coefficients are computed on a grid of so many cells either way.
        reach: cells to each side that are averaged.
        texture: standard deviation below which contrast is flattened.
    """

    def average(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, 2 * reach + 1, 1, reach, count_include_pad=False)

    coarse = F.adaptive_avg_pool2d(image, cells)
    mean = average(coarse)
    variance = (average(coarse.square()) - mean.square()).clamp(min=0)
    slope = variance / (variance + texture**2)
    offset = mean * (1 - slope)
    slope, offset = (
        F.interpolate(average(values), image.shape[-2:], mode="bilinear", align_corners=False)
        for values in (slope, offset)
    )
    return slope * image + offset


def _uniform(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)

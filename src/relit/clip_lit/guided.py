"""An illumination map of a reduced photograph, brought back along the edges of the full one.

Guided image filtering (He, Sun, Tang, TPAMI 2013), upsampled as in the fast guided filter (He, Sun, 2015): in
every window around pixel k of the reduced photograph, the map p is a linear function of the guide I,

    p_i = a_k I_i + b_k  for all i in the window,  where  a_k = cov(I, p) / (var(I) + eps)  and
                                                          b_k = mean(p) - a_k mean(I)

minimise the mean of the squared errors plus eps a_k^2. A pixel lies in many windows, so its a and b are the
means over theirs. They vary slowly, so they are upsampled bilinearly, and the map at full size is a I + b of
the photograph's own guide.

The guide is luminance as the map of the released network follows it: blurred by some pixels, and by as many
whatever the photograph's size. So both guides are blurred by the same number of their own pixels. With sharp
ones a comes out too small, and the full photograph's finest detail enters the map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional as F

BLUR = 4
"""Radius, in pixels, of the mean that makes luminance what the network's map follows."""

RADIUS = 8
"""Of a window, in pixels of the reduced photograph."""

EPS = 1e-5
"""eps, for luminance in [0, 1]: a window whose luminance deviates less than its root has a flat map."""

LUMA = (0.299, 0.587, 0.114)
"""Of R, G and B in the luminance (ITU-R BT.601)."""


def map_of_reduced(
    photos: Tensor, scale: int, illumination: Callable[[Tensor], Tensor], multiple: int = 1
) -> Tensor:
    """The map that ``illumination`` gives of photographs reduced by ``scale``, brought back to full size.

    Differentiable in what ``illumination`` is made of. The photographs' lower and right borders are repeated
    until the reduced have sides of a multiple of ``multiple``, and of two at least, for a single pixel can't
    be reflected.

    Args:
        photos: I_b, (B, 3, H, W) in [0, 1].
        scale: pixels of a photograph along a side of one of the reduced, each of which is their mean.
        illumination: from (B, 3, h, w) to maps (B, 1, h, w).
        multiple: of sides that ``illumination`` need not pad.

    Returns:
        I_i, (B, 1, H, W), within the range of the small map.
    """
    height, width = photos.shape[-2:]
    rows, columns = padding_of_reduced((height, width), scale, multiple)
    whole = F.pad(photos, (0, columns, 0, rows), mode="replicate") if rows or columns else photos
    return map_of_multiples(whole, scale, illumination)[..., :height, :width]


def padding_of_reduced(size: Sequence[int], scale: int, multiple: int) -> tuple[int, int]:
    """How many rows and columns :func:`map_of_reduced` adds to photographs of ``size``, (H, W)."""
    rows, columns = (max(-side % (scale * multiple), 2 * scale - side) for side in size)
    return rows, columns


def map_of_multiples(whole: Tensor, scale: int, illumination: Callable[[Tensor], Tensor]) -> Tensor:
    """:func:`map_of_reduced` of photographs whose sides are multiples of ``scale``, two at least."""
    small = F.avg_pool2d(whole, scale)
    return guided_upsampling(illumination(small), seen(small), seen(whole))


def seen(photo: Tensor) -> Tensor:
    """(B, 3, H, W) to the blurred luminance that guides the map, (B, 1, H, W)."""
    return box_mean(luminance(photo), BLUR)


def luminance(photo: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, 1, H, W)."""
    red, green, blue = photo.split(1, dim=1)
    # what is scaled while it is added needs no tensor of its own
    return (LUMA[0] * red).add(green, alpha=LUMA[1]).add(blue, alpha=LUMA[2])


def guided_upsampling(
    small: Tensor, small_guide: Tensor, guide: Tensor, radius: int = RADIUS, eps: float = EPS
) -> Tensor:
    """A map at the size of ``guide``, with its edges.

    Args:
        small: p, (B, 1, h, w).
        small_guide: I at the map's size, (B, 1, h, w).
        guide: I at full size, (B, 1, H, W).
        radius: of a window, in pixels of ``small``; windows end where the map ends.
        eps: the weight of a^2.

    Returns:
        (B, 1, H, W), within the range of ``small``; of the guide's type, for half precision would lose
        covariances.
    """
    small = small.to(guide.dtype)
    slope, offset = (
        F.interpolate(coefficient, guide.shape[-2:], mode="bilinear")
        for coefficient in linear_model(small, small_guide, radius, eps)
    )
    upsampled = slope.mul_(guide).add_(offset)
    # a line goes on beyond what it was fitted to
    return upsampled.clamp_(small.amin((1, 2, 3), keepdim=True), small.amax((1, 2, 3), keepdim=True))


def box_mean(x: Tensor, radius: int) -> Tensor:
    """The mean of each pixel's window of 2 ``radius`` + 1 pixels a side, as far as it lies in ``x``."""
    for kernel, padding in (((2 * radius + 1, 1), (radius, 0)), ((1, 2 * radius + 1), (0, radius))):
        x = F.avg_pool2d(x, kernel, 1, padding, count_include_pad=False)
    return x


def linear_model(
    target: Tensor,
    guide: Tensor,
    radius: int,
    eps: float,
    mean: Callable[[Tensor, int], Tensor] = box_mean,
) -> tuple[Tensor, Tensor]:
    """a and b of the guided filter, averaged over the windows that a pixel lies in.

    Args:
        target: p, (B, 1, H, W).
        guide: I, (B, 1, H, W).
        radius: of a window, which has 2 ``radius`` + 1 pixels a side.
        eps: the weight of a^2.
        mean: :func:`box_mean`, or what computes the same.

    Returns:
        a and b, (B, 1, H, W).
    """
    # about their means, for covariances of flat windows are differences of nearly equal numbers
    centre, guide_centre = (x.mean((2, 3), keepdim=True) for x in (target, guide))
    target, guide = target - centre, guide - guide_centre
    mean_target, mean_guide = mean(target, radius), mean(guide, radius)
    covariance = mean(guide * target, radius) - mean_guide * mean_target
    variance = mean(guide.square(), radius) - mean_guide.square()
    slope = covariance / (variance + eps)
    offset = mean_target - slope * (mean_guide + guide_centre) + centre
    return mean(slope, radius), mean(offset, radius)

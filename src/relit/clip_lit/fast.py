"""CLIP-LIT's illumination map from a reduced photograph, brought back along the edges of the full one.

Guided image filtering (He, Sun, Tang, TPAMI 2013), upsampled as in the fast guided filter (He, Sun, 2015): in
every window w around pixel k of the reduced photograph, the map p is a linear function of the colours I,

    p_i = a_k^T I_i + b_k  for all i in w,  where  a_k = (cov(I) + eps U)^-1 cov(I, p)  and
                                                   b_k = mean(p) - a_k^T mean(I)

minimise the squared error plus eps |a_k|^2. A pixel lies in many windows, so its a and b are the means over
theirs. They vary slowly, so they are upsampled bilinearly, and the map at full size is a^T I + b of the
photograph's own colours.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from relit.clip_lit.network import IlluminationNetwork, enhance
from relit.clip_lit.tiled import enhance_any_size

LONG_SIDE = 384
"""Pixels of the reduced photograph."""

RADIUS = 4
"""Of a window: it has 2 RADIUS + 1 pixels a side."""

EPS = 1e-4
"""eps, for colours in [0, 1]: windows whose colours vary less than its root keep little of their structure."""


def enhance_fast(network: IlluminationNetwork, photo: Tensor) -> Tensor:
    """I_t of photographs of any size, close to that of the whole ``network`` in a fraction of its time.

    Args:
        network: left as it is.
        photo: I_b, (B, 3, H, W) in [0, 1]; one that is no larger than :data:`LONG_SIDE` is not reduced.

    Returns:
        I_t, (B, 3, H, W) in [0, 1].
    """
    height, width = photo.shape[-2:]
    reduction = LONG_SIDE / max(height, width)
    if reduction >= 1:
        return enhance_any_size(network, photo)
    # a border can't be reflected at a single pixel
    size = [max(2, round(side * reduction)) for side in (height, width)]
    reduced = F.interpolate(photo, size, mode="bilinear", antialias=True)
    return enhance(photo, guided_upsampling(network(reduced), reduced, photo))


def guided_upsampling(
    small: Tensor, small_guide: Tensor, guide: Tensor, radius: int = RADIUS, eps: float = EPS
) -> Tensor:
    """A map at the size of ``guide``, with its edges.

    Args:
        small: p, (B, 1, h, w).
        small_guide: I, the guide reduced to the map's size, (B, C, h, w).
        guide: (B, C, H, W).
        radius: of a window, in pixels of ``small``; windows end where the map ends.
        eps: the weight of |a|^2.

    Returns:
        (B, 1, H, W), within the range of ``small``.
    """
    slope, offset = linear_model(small, small_guide, radius, eps)
    full = F.interpolate(torch.cat([slope, offset], dim=1), guide.shape[-2:], mode="bilinear")
    upsampled = (full[:, :-1] * guide).sum(dim=1, keepdim=True).add_(full[:, -1:])
    # a line goes on beyond what it was fitted to
    return upsampled.clamp_(small.amin((1, 2, 3), keepdim=True), small.amax((1, 2, 3), keepdim=True))


def linear_model(target: Tensor, guide: Tensor, radius: int, eps: float) -> tuple[Tensor, Tensor]:
    """a and b of the guided filter, averaged over the windows that a pixel lies in.

    Args:
        target: p, (B, 1, H, W).
        guide: I, (B, C, H, W).
        radius: of a window.
        eps: the weight of |a|^2.

    Returns:
        a, (B, C, H, W), and b, (B, 1, H, W).
    """
    channels = guide.shape[1]
    mean_target, mean_guide = box_mean(target, radius), box_mean(guide, radius)
    products = (guide[:, :, None] * guide[:, None]).flatten(1, 2)
    covariance = box_mean(products, radius).unflatten(1, (channels, channels))
    covariance = covariance - mean_guide[:, :, None] * mean_guide[:, None]
    with_target = box_mean(guide * target, radius) - mean_guide * mean_target
    # matrices last, as solvers want them
    ridge = eps * torch.eye(channels).to(guide)
    slope = torch.linalg.solve(covariance.permute(0, 3, 4, 1, 2) + ridge, with_target.movedim(1, -1))
    slope = slope.movedim(-1, 1)
    offset = mean_target - (slope * mean_guide).sum(dim=1, keepdim=True)
    return box_mean(slope, radius), box_mean(offset, radius)


def box_mean(x: Tensor, radius: int) -> Tensor:
    """The mean of each pixel's window of 2 ``radius`` + 1 pixels a side, as far as it lies in ``x``."""
    for kernel, padding in (((2 * radius + 1, 1), (radius, 0)), ((1, 2 * radius + 1), (0, radius))):
        x = F.avg_pool2d(x, kernel, 1, padding, count_include_pad=False)
    return x

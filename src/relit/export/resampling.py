"""Padding, pooling and resizing of images whose size is known only when an exported function runs.

Each is written as an index or a matrix that is computed from the size by tensor arithmetic alone: nothing
branches on it, and every format has the operators.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def separably(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Weighted sums over rows, and over columns: (..., H, W) by (h, H) and (w, W) to (..., h, w)."""
    return rows @ (images @ columns.transpose(0, 1))


def mirrored_places(side: int, multiple: int, device: torch.device) -> Tensor:
    """Which row of an image each row of what :func:`relit.clip_restorex.restormer.padded` makes of it is.

    Args:
        side: H.
        multiple: what the mirrored image's side is a multiple of.
        device: of the result.

    Returns:
        int64 (H',): 0 ... H - 1, then backwards; where that would not suffice, H - 1 again and again.
    """
    places = torch.arange(_up_to(side, multiple), device=device)
    last = side - 1
    beyond = 2 * last - places
    return torch.minimum(places, torch.where(beyond[-1:] >= 0, beyond, last))


def repeated_places(side: int, multiple: int, device: torch.device) -> Tensor:
    """The same where the last row is repeated."""
    return torch.arange(_up_to(side, multiple), device=device).clamp(max=side - 1)


def _up_to(side: int, multiple: int) -> int:
    return (side + multiple - 1) // multiple * multiple


def leading(images: Tensor, height: int, width: int) -> Tensor:
    """``images[..., :height, :width]``, without asking whether there are as many: no exporter can tell."""
    rows, columns = (torch.arange(side, device=images.device) for side in (height, width))
    return images[..., rows, :][..., columns]


def averages(bins: int, images: Tensor, dim: int) -> Tensor:
    """The weights by which :class:`torch.nn.AdaptiveAvgPool2d` pools one side of ``images``: (bins, side).

    Bin i is the mean of places floor(i side / bins) to ceil((i + 1) side / bins), that one excluded.
    """
    side = images.shape[dim]
    bin_, place = (torch.arange(count, device=images.device) for count in (bins, side))
    first = (bin_ * side // bins)[:, None]
    end = ((bin_ * side + side + bins - 1) // bins)[:, None]
    inside = (place >= first) & (place < end)
    return inside.to(images.dtype) / (end - first)


class AveragedBins(nn.Module):
    """:class:`torch.nn.AdaptiveAvgPool2d` to a square, for images of any size.

    Args:
        bins: b, a side of the square.
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, b, b)."""
        return separably(x, averages(self.bins, x, -2), averages(self.bins, x, -1))


def interpolation(target: int, images: Tensor, dim: int, antialias: bool) -> Tensor:
    """The weights of :func:`torch.nn.functional.interpolate`, bilinear, for one side: (target, side).

    ``align_corners`` is false. With ``antialias`` the triangle that weighs neighbours is as much wider as the
    image shrinks.
    """
    side = images.shape[dim]
    wanted, place = (
        torch.arange(count, device=images.device, dtype=images.dtype) for count in (target, side)
    )
    # how many places of the image one of the result stands for
    scale = torch.full_like(wanted, 1.0) * side / target
    centre = ((wanted + 0.5) * scale - 0.5)[:, None]
    if not antialias:
        return (1 - (place - centre.clamp(min=0).clamp(max=side - 1)).abs()).relu()
    weights = (1 - (place - centre).abs() / scale.clamp(min=1)[:, None]).relu()
    return weights / weights.sum(dim=1, keepdim=True)


def resized(images: Tensor, size: tuple[int, int], antialias: bool) -> Tensor:
    """``images`` (B, C, H, W) at another size, bilinear, as the frozen towers' preprocessing does it."""
    rows, columns = (
        interpolation(target, images, dim, antialias) for dim, target in zip((-2, -1), size, strict=True)
    )
    return separably(images, rows, columns)

"""Squares cut from photographs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def crop_at(photo: Tensor, side: int, place: Sequence[float]) -> Tensor:
    """A square of ``side`` pixels: a copy, shape (C, side, side), of a photograph (C, H, W).

    Args:
        photo: what is smaller than the square is mirrored at its right and lower border.
        side: of the square, in pixels.
        place: of the square, down and right: two numbers in [0, 1) of the room there is.
    """
    photo = mirrored_to(photo, side)
    top, left = (int(u * (extent - side + 1)) for u, extent in zip(place, photo.shape[1:], strict=True))
    return photo[:, top : top + side, left : left + side].clone()


def mirrored_to(photo: Tensor, side: int) -> Tensor:
    """``photo`` (C, H, W), continued by its mirror image to at least ``side`` pixels either way."""
    for dim in (1, 2):
        extent = photo.shape[dim]
        if extent < side:
            order = torch.arange(side) % (2 * extent)
            photo = photo.index_select(dim, torch.minimum(order, 2 * extent - 1 - order))
    return photo

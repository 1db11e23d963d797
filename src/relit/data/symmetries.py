"""The eight symmetries of the square: flips and quarter turns, which move pixels and change none."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from relit.keyed import keyed_seed


def symmetry(image: Tensor, number: int) -> Tensor:
    """One of the eight symmetries of a square image, (..., S, S); number 0 leaves it as it is.

    Numbers 0 to 3 turn counter-clockwise by as many quarters; 4 to 7 mirror left and right before that.
    """
    flipped = image.flip(-1) if number >= 4 else image
    return torch.rot90(flipped, number % 4, dims=(-2, -1))


def turned(images: Tensor, positions: Sequence[int], seed: int) -> Tensor:
    """Each image of a batch (B, C, S, S) under the symmetry that its position draws."""
    numbers = [keyed_seed(seed, "symmetry", position) % 8 for position in positions]
    return torch.stack([symmetry(image, number) for image, number in zip(images, numbers, strict=True)])

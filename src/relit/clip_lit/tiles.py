"""Tiles that cover a photograph, each in a window that is the tile and a halo around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import ceil
from types import EllipsisType
from typing import NamedTuple

Index = tuple[EllipsisType, slice, slice]
"""Of tensors (..., H, W)."""


class Tile(NamedTuple):
    """A part of a photograph, as indices of tensors (..., H, W).

    Attributes:
        place: of the tile in the photograph.
        window: the tile with its halo, in the photograph.
        inner: the tile in its window.
    """

    place: Index
    window: Index
    inner: Index


def tiles(size: Sequence[int], side: int, halo: int, multiple: int = 1) -> Iterator[Tile]:
    """Tiles of about the same size that cover a photograph once, row by row.

    Args:
        size: height and width of the photograph.
        side: of a tile, at most; rounded up to ``multiple``.
        halo: pixels around a tile, fewer where the photograph ends.
        multiple: tiles begin at multiples of it.
    """
    rows, columns = (list(_spans(length, side, halo, multiple)) for length in size)
    for vertical, horizontal in product(rows, columns):
        yield Tile(*((..., *slices) for slices in zip(vertical, horizontal, strict=True)))


def _spans(length: int, side: int, halo: int, multiple: int) -> Iterator[tuple[slice, slice, slice]]:
    """Place, window and inner place of tiles in one direction."""
    count = ceil(length / rounded_up(side, multiple))
    step = rounded_up(ceil(length / count), multiple)
    for start in range(0, length, step):
        stop = min(start + step, length)
        first, last = max(start - halo, 0), min(stop + halo, length)
        yield slice(start, stop), slice(first, last), slice(start - first, stop - first)


def rounded_up(number: int, multiple: int) -> int:
    """The next multiple of ``multiple`` from ``number`` on."""
    return ceil(number / multiple) * multiple

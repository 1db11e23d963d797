"""Pictures side by side: before | after | reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

GAP = 4
"""White pixels between two panels."""

BEFORE_AFTER = ("input", "result", "reference")
"""Kinds of pictures in the order they are shown."""


def comparison(panels: Sequence[Tensor]) -> Tensor:
    """Put panels (3, H, W) in [0, 1] of one height side by side: (3, H, sum of widths and gaps)."""
    gap = torch.ones(3, panels[0].shape[1], GAP)
    pieces = [piece for panel in panels for piece in (panel, gap)]
    return torch.cat(pieces[:-1], dim=2)


def panels(grid: Tensor) -> list[Tensor]:
    """The panels of a grid whose panels are of one width: what :func:`comparison` put side by side.

    Args:
        grid: uint8 (3, H, W) with two or three panels.

    Returns:
        Views (3, H, width of a panel); empty where no such panels with white gaps are found.
    """
    for count in (3, 2):
        width, rest = divmod(grid.shape[2] - (count - 1) * GAP, count)
        starts = [place * (width + GAP) for place in range(count)]
        gaps = [grid[..., start - GAP : start] for start in starts[1:]]
        if not rest and width > 0 and all(bool((gap == 255).all()) for gap in gaps):
            return [grid[..., start : start + width] for start in starts]
    return []


def before_after(pictures: Mapping[str, Tensor], long_side: int | None = None) -> Tensor:
    """Input | result | reference, as far as they are there: (3, H, W) on the CPU.

    Args:
        pictures: (1, 3, H, W) in [0, 1] of one size, by kind.
        long_side: larger ones are reduced to it; None keeps their size.
    """
    shown = torch.cat([pictures[kind] for kind in BEFORE_AFTER if kind in pictures])
    scale = 1.0 if long_side is None else long_side / max(shown.shape[2:])
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in shown.shape[2:])
        shown = functional.interpolate(shown, size, mode="bilinear", antialias=True)
    return comparison(list(shown.cpu()))

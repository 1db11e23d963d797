"""Photographs on the axes of a figure, and grids of them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 2.3
"""Of a column of pictures, in inches."""

_LONG_SIDE = 480
"""Of a drawn picture, in pixels: what a page shows, and no more in an SVG or PDF."""
_TALLEST = 1.4
_CAPTION = 0.26
_HEAD_LETTERS = 26


@dataclass(frozen=True)
class Cell:
    """One picture of a grid: (1, 3, H, W) in [0, 1], and what stands below it."""

    picture: Tensor
    caption: str = ""


@dataclass(frozen=True)
class Row:
    """Pictures of one photograph, and what stands to their left."""

    name: str
    cells: Sequence[Cell]


def reduced(picture: Tensor) -> Tensor:
    """A picture (1, C, H, W) on the CPU, made smaller where it has more pixels than are drawn."""
    scale = _LONG_SIDE / max(picture.shape[-2:])
    picture = picture.detach().float().cpu()
    if scale >= 1:
        return picture
    size = [max(1, round(side * scale)) for side in picture.shape[-2:]]
    return functional.interpolate(picture, size, mode="bilinear", antialias=True)


def as_array(picture: Tensor) -> np.ndarray:
    """(H, W, 3) in [0, 1] of a picture (1, 3, H, W), reduced."""
    return reduced(picture)[0].clamp(0, 1).permute(1, 2, 0).numpy()


def show(axes: Axes, picture: Tensor | np.ndarray, head: str = "", caption: str = "", name: str = "") -> None:
    """Draw a picture, (1, 3, H, W) or (H, W, 3) in [0, 1], without ticks and frame.

    Args:
        axes: to draw on.
        picture: what.
        head: above it; may have several lines.
        caption: below it.
        name: to its left, turned.
    """
    axes.imshow(as_array(picture) if isinstance(picture, Tensor) else picture, interpolation="antialiased")
    bare(axes)
    # names of files and phrases are no formulas
    axes.set_title("\n".join(_wrapped(head)), fontsize=9, parse_math=False)
    axes.set_xlabel(caption, fontsize=8, labelpad=2, parse_math=False)
    axes.set_ylabel(shortened(name), fontsize=8, labelpad=3, parse_math=False)


def _wrapped(head: str) -> list[str]:
    return [part for line in head.splitlines() for part in textwrap.wrap(line, _HEAD_LETTERS)]


def bare(axes: Axes) -> None:
    """Take ticks and frame away; labels stay."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def shortened(name: str, most: int = 24) -> str:
    """A name with its middle left out where it is long."""
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def row_heights(pictures: Sequence[Tensor]) -> list[float]:
    """Of rows of pictures (..., H, W), one of each given, in inches with their captions."""
    return [WIDTH * min(_TALLEST, p.shape[-2] / p.shape[-1]) + _CAPTION for p in pictures]


def picture_grid(heads: Sequence[str], rows: Sequence[Row]) -> Figure:
    """A figure of pictures: a row for each photograph, a column for each head."""
    from matplotlib.figure import Figure

    heights = row_heights([row.cells[0].picture for row in rows])
    lines = max(len(_wrapped(head)) for head in heads)
    figure = Figure(figsize=(WIDTH * len(heads) + 0.3, sum(heights) + 0.2 * lines), layout="constrained")
    tighten(figure)
    axes = figure.subplots(len(rows), len(heads), squeeze=False, height_ratios=heights)
    for place, (row, panels) in enumerate(zip(rows, axes, strict=True)):
        for column, (cell, panel) in enumerate(zip(row.cells, panels, strict=True)):
            head = heads[column] if place == 0 else ""
            show(panel, cell.picture, head, cell.caption, row.name if column == 0 else "")
    return figure


def tighten(figure: Figure) -> None:
    """Leave little room between the axes."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(w_pad=0.03, h_pad=0.05, wspace=0.0, hspace=0.0)  # type: ignore[call-arg]

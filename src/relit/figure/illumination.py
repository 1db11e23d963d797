"""Illumination maps of CLIP-LIT, alone and over their photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from relit.clip_lit.judging import enhancer
from relit.clip_lit.network import enhance
from relit.figure.finished import open_finished
from relit.figure.lit_photographs import chosen
from relit.figure.overlay import overlay
from relit.figure.pictures import WIDTH, reduced, row_heights, show, tighten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PHOTOGRAPHS = 3
_COLOURS = "inferno"
_HEADS = ("input", "", "map over it", "result")
"""Above the columns; each map tells its own range."""


def illumination(run: Path, photos: Sequence[str] = ()) -> Figure:
    """Photograph, its illumination map I_i, the same over the photograph in grey, and the result I_b / I_i.

    Where the map is 1 the photograph is left as it is; at 0.25 it is made four times as bright. The colours
    reach from 0 to 1, or to the highest value where that is more, so an even map looks even.

    Args:
        run: a run of CLIP-LIT.
        photos: names of those to show.

    Raises:
        ConfigurationError: the run has no such photograph.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    context = open_finished(run)
    network = enhancer(context, context.weights)
    pairs = chosen(context, photos, _PHOTOGRAPHS)
    with torch.no_grad():
        maps = [network(pictures["input"]) for _, pictures in pairs]
    colours = Normalize(0, max(1.0, *(float(found.max()) for found in maps)))
    heights = row_heights(maps)
    figure = Figure(figsize=(len(_HEADS) * WIDTH + 1.1, sum(heights) + 0.2), layout="constrained")
    tighten(figure)
    axes = figure.subplots(len(pairs), len(_HEADS), squeeze=False, height_ratios=heights)
    for place, ((name, pictures), found, panels) in enumerate(zip(pairs, maps, axes, strict=True)):
        image = pictures["input"]
        heads = _HEADS if place == 0 else [""] * len(_HEADS)
        show(panels[0], image, heads[0], name=name)
        levels = np.asarray(colours(reduced(found)[0, 0].numpy()))
        extent = f"map {float(found.min()):.2f} to {float(found.max()):.2f}"
        show(panels[1], colormaps[_COLOURS](levels)[..., :3], extent)
        show(panels[2], overlay(reduced(image), levels, colormaps[_COLOURS]), heads[2])
        show(panels[3], enhance(image, found), heads[3])
    scale = ScalarMappable(colours, colormaps[_COLOURS])
    figure.colorbar(scale, ax=axes, shrink=0.8, label="illumination (1: left as it is)")
    return figure

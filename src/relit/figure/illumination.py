"""Illumination maps of CLIP-LIT beside their photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from relit.clip_lit.judging import enhancer
from relit.clip_lit.network import enhance
from relit.figure.finished import open_finished
from relit.figure.lit_photographs import chosen
from relit.figure.pictures import WIDTH, reduced, row_heights, show, tighten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PHOTOGRAPHS = 3
_COLOURS = "inferno"


def illumination(run: Path, photos: Sequence[str] = ()) -> Figure:
    """Photograph, its illumination map I_i, and the result I_b / I_i.

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
    figure = Figure(figsize=(3 * WIDTH + 1.1, sum(heights) + 0.2), layout="constrained")
    tighten(figure)
    axes = figure.subplots(len(pairs), 3, squeeze=False, height_ratios=heights)
    for place, ((name, pictures), found, panels) in enumerate(zip(pairs, maps, axes, strict=True)):
        image = pictures["input"]
        heads = ("input", "result") if place == 0 else ("", "")
        show(panels[0], image, heads[0], name=name)
        coloured = colormaps[_COLOURS](colours(reduced(found)[0, 0].numpy()))[..., :3]
        show(panels[1], coloured, f"map {float(found.min()):.2f} to {float(found.max()):.2f}")
        show(panels[2], enhance(image, found), heads[1])
    scale = ScalarMappable(colours, colormaps[_COLOURS])
    figure.colorbar(scale, ax=axes, shrink=0.8, label="illumination (1: left as it is)")
    return figure

"""CLIP-LIT Fig. 6: which regions of a photograph the learned negative prompt answers to, round by round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from torch.nn import functional

from relit.attention_relevance import attention_layers
from relit.attention_relevance import relevance as relevance_of_patches
from relit.figure.finished import open_finished
from relit.figure.lit_photographs import chosen
from relit.figure.overlay import overlay
from relit.figure.pictures import WIDTH, reduced, row_heights, show, tighten
from relit.figure.prompt_pairs import learned_judge
from relit.figure.rounds import weights_by_round

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PHOTOGRAPHS = 3
_COLUMNS = 4
_COLOURS = "turbo"
_BRIGHTEST = 0.98
"""Share of the pixels that the colours tell apart; the others have the highest one."""


def relevance(run: Path, photos: Sequence[str] = ()) -> Figure:
    """Inputs, and over them the relevance of the learned negative prompt after each round.

    Values are multiples of an even share: 1 is a patch that matters as much as the average one. Round 0 has
    the prompts that the first enhancement was trained with.

    Args:
        run: a run of CLIP-LIT whose prompts belong to a CLIP with a ViT.
        photos: names of those to show.

    Raises:
        ConfigurationError: the run learned no prompts, its CLIP has no ViT, there is no such photograph, or
            the run's stages are gone.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    context = open_finished(run, ("prompts",))
    attention_layers(learned_judge(context).clip)
    pairs = [(name, pictures["input"]) for name, pictures in chosen(context, photos, _PHOTOGRAPHS)]
    maps: dict[int, list[Tensor]] = {}
    for number, weights in weights_by_round(context, "prompts", _COLUMNS).items():
        judge = learned_judge(replace(context, weights=weights))
        maps[number] = [
            _multiples(relevance_of_patches(judge.clip, image, judge.text[0], judge.logit_scale), image)
            for _, image in pairs
        ]
    every = np.concatenate([found.numpy().ravel() for of_round in maps.values() for found in of_round])
    # a patch or two may stand far above all others, of all photographs
    colours = Normalize(0, float(np.quantile(every, _BRIGHTEST)), clip=True)
    heights = row_heights([image for _, image in pairs])
    columns = 1 + len(maps)
    figure = Figure(figsize=(columns * WIDTH + 1.1, sum(heights) + 0.2), layout="constrained")
    tighten(figure)
    axes = figure.subplots(len(pairs), columns, squeeze=False, height_ratios=heights)
    for place, ((name, image), panels) in enumerate(zip(pairs, axes, strict=True)):
        show(panels[0], image, "input" if place == 0 else "", name=name)
        for (number, found), panel in zip(maps.items(), panels[1:], strict=True):
            shares = np.asarray(colours(found[place][0, 0].numpy()))
            drawn = overlay(image, shares, colormaps[_COLOURS])
            show(panel, drawn, f"round {number}" if place == 0 else "")
    scale = ScalarMappable(colours, colormaps[_COLOURS])
    label = "relevance of the negative prompt (1: an even share)"
    figure.colorbar(scale, ax=axes, shrink=0.8, extend="max", label=label)
    return figure


def _multiples(shares: Tensor, image: Tensor) -> Tensor:
    """Shares of patches, (1, h, w), as multiples of an even one, (1, 1, H, W) as the image is drawn."""
    size = reduced(image).shape[-2:]
    found = shares[:, None] * shares[0].numel()
    return functional.interpolate(found, size, mode="bilinear", align_corners=False).detach().cpu()

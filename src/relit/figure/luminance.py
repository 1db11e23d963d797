"""CLIP-LIT Fig. 10: scores of photographs that grow lighter, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from relit.data.synthesis import expose, quantise, to_linear, to_srgb
from relit.figure.copies import distinct
from relit.figure.finished import open_finished
from relit.figure.lit_photographs import chosen, well_lit
from relit.figure.pictures import WIDTH, row_heights, show, tighten
from relit.figure.prompt_pairs import learned_judge, positive_score, worded_judges

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from relit.run_context import RunContext

LEVELS = (-2.0, -1.75, -1.5, -1.25, -1.0, -0.75, -0.5, -0.25, 0.0)
"""Exposure in EV: from a quarter of the scene's light up to the well-lit photograph itself. Prompts that tell
backlit from well lit change their mind within this range."""

PICTURED = LEVELS[::2]
"""Those that stand above the curves as pictures."""

_PHOTOGRAPHS = 12


def luminance(run: Path, photos: Sequence[str] = ()) -> Figure:
    """Above, a photograph every half stop with its learned score; below, scores of several against EV.

    The photographs are the references of the run's test set (where there are none, its well-lit ones), made
    darker in linear light: the scene stays the same, and only its luminance changes.

    Args:
        run: a run of CLIP-LIT.
        photos: names of those to show; the first one is pictured.

    Raises:
        ConfigurationError: the run learned no prompts, or has no such photograph.
    """
    from matplotlib.figure import Figure

    context = open_finished(run, ("prompts",))
    learned = learned_judge(context)
    wording, worded = next(iter(worded_judges(context, learned).items()))
    found = _distinct(context, photos)
    ladders = [exposed(picture, LEVELS) for _, picture in found]
    by_judge = {
        name: np.array([positive_score(judge, ladder) for ladder in ladders])
        for name, judge in (("learned prompts", learned), (wording, worded))
    }
    height = 0.8 * row_heights([found[0][1]])[0]
    figure = Figure(figsize=(0.8 * WIDTH * len(PICTURED), height + 3.0), layout="constrained")
    tighten(figure)
    grid = figure.add_gridspec(2, len(PICTURED), height_ratios=(height, 3.0))
    for column, ev in enumerate(PICTURED):
        panel, place = figure.add_subplot(grid[0, column]), LEVELS.index(ev)
        score = f"score {by_judge['learned prompts'][0, place]:.2f}"
        head = f"{ev:+.1f} EV" if ev else "0 EV"
        show(panel, ladders[0][place : place + 1], head, score, found[0][0] if column == 0 else "")
    _curves(figure.add_subplot(grid[1, :]), by_judge)
    return figure


def exposed(picture: Tensor, levels: Sequence[float]) -> Tensor:
    """A photograph at each level: its linear light times 2**EV, rounded to 8 bits.

    Args:
        picture: sRGB, (1, 3, H, W) in [0, 1].
        levels: n, in EV.

    Returns:
        (n, 3, H, W) in [0, 1].
    """
    ev = torch.tensor(levels, device=picture.device).reshape(-1, 1, 1, 1)
    return quantise(to_srgb(expose(to_linear(picture), ev)))


def _distinct(context: RunContext, photos: Sequence[str]) -> list[tuple[str, Tensor]]:
    """Well-lit photographs, each once."""
    pairs = chosen(context, photos, _PHOTOGRAPHS)
    found = [(name, pictures["reference"]) for name, pictures in pairs if "reference" in pictures]
    if not found:
        others = well_lit(context)
        pairs = [others.at(place) for place in range(min(_PHOTOGRAPHS, others.count))]
        found = [(name, pictures["reference"]) for name, pictures in pairs]
    return list(distinct(found))


def _curves(axes: Axes, by_judge: dict[str, np.ndarray]) -> None:
    for colour, (name, values) in zip(("tab:blue", "tab:orange"), by_judge.items(), strict=True):
        axes.plot(LEVELS, values.T, color=colour, alpha=0.25, linewidth=0.8)
        mean = values.mean(axis=0)
        axes.plot(LEVELS, mean, color=colour, marker="o", markersize=4, label=name)
    count = len(next(iter(by_judge.values())))
    axes.set(
        xlabel=f"exposure (EV; thin lines: {count} photographs, thick ones: their mean)",
        ylabel="score of the positive prompt",
        xticks=PICTURED,
        ylim=(-0.03, 1.03),
    )
    axes.grid(alpha=0.3)
    for text in axes.legend(frameon=False, fontsize=8).get_texts():
        text.set_parse_math(False)

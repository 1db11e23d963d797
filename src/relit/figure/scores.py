"""CLIP-LIT Fig. 2: what worded prompts and the learned ones say of single photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from relit.clip_lit.judging import Judge
from relit.figure.finished import open_finished
from relit.figure.lit_photographs import chosen, well_lit
from relit.figure.pictures import WIDTH, row_heights, shortened, show, tighten
from relit.figure.prompt_pairs import LEARNED, learned_judge, positive_score, worded_judges

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PHOTOGRAPHS = 2
_RIGHT, _WRONG = "tab:green", "tab:red"
_LEAST = 2.0
"""Height of a row in inches, for the bars to be read."""

Shown = tuple[str, str, Tensor]
"""A photograph's name, what it is (backlit or well lit) and its picture."""


def scores(run: Path, photos: Sequence[str] = ()) -> Figure:
    """Photographs, each with a bar for every prompt pair: the share that the positive prompt gets, Eq. (2).

    Green bars are on the right side of one half: below it for backlit photographs, above it for well-lit
    ones.

    Args:
        run: a run of CLIP-LIT.
        photos: names of those to show, each with its reference where it has one; without references,
            well-lit photographs of the run's own stand beside them.

    Raises:
        ConfigurationError: the run learned no prompts, or has no such photograph.
    """
    from matplotlib.figure import Figure

    context = open_finished(run, ("prompts",))
    learned = learned_judge(context)
    judges = {LEARNED: learned, **worded_judges(context, learned)}
    pairs = chosen(context, photos, _PHOTOGRAPHS)
    backlit = [(name, "backlit", pictures["input"]) for name, pictures in pairs]
    lit = [(name, "well lit", found["reference"]) for name, found in pairs if "reference" in found]
    if not lit:
        others = well_lit(context)
        found = [others.at(place) for place in range(min(len(backlit), others.count))]
        lit = [(name, "well lit", pictures["reference"]) for name, pictures in found]
    rows = [list(row) for row in zip(backlit, lit, strict=False)] or [[one] for one in backlit]
    heights = [max(height, _LEAST) for height in row_heights([row[0][2] for row in rows])]
    widths = [WIDTH, 1.25 * WIDTH] * len(rows[0])
    # the names of the prompts stand to the left of the first bars
    figure = Figure(figsize=(sum(widths) + 2.6, sum(heights) + 0.3), layout="constrained")
    tighten(figure)
    axes = figure.subplots(len(rows), len(widths), squeeze=False, width_ratios=widths, height_ratios=heights)
    for row, panels in zip(rows, axes, strict=True):
        for place, photograph in enumerate(row):
            _draw(panels[2 * place], panels[2 * place + 1], photograph, judges, labelled=place == 0)
    for panel in axes[-1][1::2]:
        panel.set_xlabel("score of the positive prompt", fontsize=8)
    return figure


def _draw(picture: Axes, bars: Axes, photograph: Shown, judges: Mapping[str, Judge], labelled: bool) -> None:
    name, kind, image = photograph
    show(picture, image, head=kind, caption=shortened(name))
    values = [positive_score(judge, image)[0] for judge in judges.values()]
    colours = [_RIGHT if (value > 0.5) == (kind == "well lit") else _WRONG for value in values]
    places = range(len(values))
    bars.barh(places, values, color=colours, height=0.62)
    for place, value in zip(places, values, strict=True):
        inside = value > 0.75
        bars.text(
            value + (-0.02 if inside else 0.02),
            place,
            f"{value:.2f}",
            va="center",
            ha="right" if inside else "left",
            fontsize=8,
            color="white" if inside else "black",
            bbox=None if inside else {"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )
    bars.axvline(0.5, color="grey", linewidth=0.8, linestyle=":", zorder=0.5)
    bars.set(xlim=(0, 1), ylim=(len(values) - 0.4, -0.6), yticks=[])
    if labelled:
        bars.set_yticks(places, list(judges), fontsize=8, parse_math=False)
    bars.tick_params(axis="x", labelsize=7)
    bars.tick_params(axis="y", length=0)
    bars.spines[["top", "right"]].set_visible(False)

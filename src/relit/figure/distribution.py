"""CLIP-LIT Fig. 12: how the scores of backlit and of well-lit photographs are spread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from relit.clip_lit.judging import Judge, ToJudge
from relit.figure.copies import distinct
from relit.figure.density import density
from relit.figure.finished import open_finished
from relit.figure.lit_photographs import photographs, well_lit
from relit.figure.prompt_pairs import learned_judge, positive_score, worded_judges

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from relit.run_context import RunContext

_COLOURS = {"backlit": "tab:orange", "well lit": "tab:blue"}
_PICTURES = {"backlit": "input", "well lit": "reference"}
"""What the photographs of a kind are called in a pair."""

Scores = dict[str, dict[str, list[float]]]
"""Of photographs, by kind of photograph and then by judge."""


def distribution(run: Path) -> Figure:
    """Density above, points and boxes below: scores of the positive prompt, Eq. (2), learned and worded.

    Boxes show quartiles, their whiskers reach the outermost photographs. Backlit photographs are the inputs
    of the run's test set (else of validation, else those trained on), well-lit ones their references; where
    there are none, the well-lit photographs held out, or trained on. Copies, such as one reference of several
    inputs, count once.

    Args:
        run: a run of CLIP-LIT.

    Raises:
        ConfigurationError: the run learned no prompts.
    """
    from matplotlib.figure import Figure

    context = open_finished(run, ("prompts",))
    learned = learned_judge(context)
    wording, worded = next(iter(worded_judges(context, learned).items()))
    judges = {"learned prompts": learned, wording: worded}
    found, data = scores_of(context, judges)
    figure = Figure(figsize=(4.2 * len(judges), 4.4), layout="constrained")
    axes = figure.subplots(2, len(judges), squeeze=False, sharex=True, height_ratios=(3, 2))
    for name, (above, below) in zip(judges, axes.T, strict=True):
        values = {kind: of[name] for kind, of in found.items()}
        above.set_title(name, fontsize=10, parse_math=False)
        _densities(above, values)
        _points_and_boxes(below, values)
    axes[0][0].set_ylabel("density")
    axes[0][0].legend(frameon=False, fontsize=8)
    figure.supxlabel(f"score of the positive prompt ({data})", fontsize=9)
    return figure


def scores_of(context: RunContext, judges: Mapping[str, Judge]) -> tuple[Scores, str]:
    """Every photograph's scores of the positive prompt, copies left out, and what the photographs are."""
    pairs = photographs(context)
    found = {kind: _scores(pairs, picture, judges) for kind, picture in _PICTURES.items()}
    if found["well lit"][next(iter(judges))]:
        return found, f"{pairs.count} {pairs.data} pairs, each photograph once"
    others = well_lit(context)
    found["well lit"] = _scores(others, "reference", judges)
    what = pairs.data.partition(",")[0] if "photographs" in pairs.data else f"{pairs.data} inputs"
    return found, f"{pairs.count} {what}, {others.count} {others.data}, each once"


def _scores(given: ToJudge, picture: str, judges: Mapping[str, Judge]) -> dict[str, list[float]]:
    every = (given.at(place) for place in range(given.count))
    wanted = ((name, pictures[picture]) for name, pictures in every if picture in pictures)
    found: dict[str, list[float]] = {name: [] for name in judges}
    for _, one in distinct(wanted):
        for name, judge in judges.items():
            found[name] += positive_score(judge, one)
    return found


def _densities(axes: Axes, values: Mapping[str, list[float]]) -> None:
    at = np.linspace(0, 1, 501)
    for kind, of in values.items():
        curve = density(of, at)
        axes.plot(at, curve, color=_COLOURS[kind], label=f"{kind} ({len(of)})")
        axes.fill_between(at, curve, color=_COLOURS[kind], alpha=0.25, linewidth=0)
    axes.set(xlim=(-0.02, 1.02), ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)


def _points_and_boxes(axes: Axes, values: Mapping[str, list[float]]) -> None:
    for row, (kind, of) in enumerate(values.items()):
        # up and down by the golden ratio, so that neighbours do not cover each other
        heights = row + 0.22 + 0.26 * (np.arange(len(of)) * 0.618034 % 1 - 0.5)
        axes.scatter(of, heights, s=7, color=_COLOURS[kind], alpha=0.5, linewidths=0)
        box = axes.boxplot(
            [of],
            positions=[row - 0.2],
            orientation="horizontal",
            widths=0.28,
            whis=(0, 100),
            patch_artist=True,
            manage_ticks=False,
        )
        for patch in box["boxes"]:
            patch.set(facecolor=_COLOURS[kind], alpha=0.5)
        for median in box["medians"]:
            median.set(color="black")
    axes.set_yticks(range(len(values)), list(values), fontsize=8)
    axes.set(ylim=(-0.5, len(values) - 0.4))
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)

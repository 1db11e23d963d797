"""How the figures of single photographs are spread: a strip of dots and a box for each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from relit.report.axis import Axis, Tick
from relit.report.measures import as_text, in_order, measure
from relit.report.scores import ImageScore

WIDTH, ROW, LEFT, RIGHT, BOTTOM = 640, 44, 130, 16, 24
_DOTS = 400
"""Of larger groups every n-th dot is drawn, in order of their values; the box counts all."""


@dataclass(frozen=True)
class Strip:
    """One group: its quartiles, its extremes and its dots (x, y), in units of the drawing."""

    label: str
    summary: str
    middle: float
    box: tuple[float, float, float]
    extremes: tuple[float, float]
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Distribution:
    """The strips of one metric, one below the other."""

    title: str
    strips: tuple[Strip, ...]
    ticks: tuple[Tick, ...]

    @property
    def height(self) -> int:
        """Of the drawing, whose width is :data:`WIDTH`."""
        return ROW * len(self.strips) + BOTTOM


def distributions_of(runs: Sequence[tuple[str, Sequence[ImageScore]]]) -> list[Distribution]:
    """A drawing for each metric: of one run a strip for each label, of several one for each run and label.

    Args:
        runs: what each is called, and the figures of its photographs.
    """
    metrics = in_order({metric for _, scores in runs for score in scores for metric in score.figures})
    return [_distribution(metric, _groups(metric, runs)) for metric in metrics]


def _groups(metric: str, runs: Sequence[tuple[str, Sequence[ImageScore]]]) -> dict[str, list[float]]:
    groups: dict[str, list[float]] = {}
    for run, scores in runs:
        for score in scores:
            if metric in score.figures:
                named = [part for part in (run if len(runs) > 1 else "", score.label) if part]
                groups.setdefault(", ".join(named) or "all", []).append(score.figures[metric])
    return groups


def _distribution(metric: str, groups: dict[str, list[float]]) -> Distribution:
    axis = Axis([value for values in groups.values() for value in values], LEFT, WIDTH - RIGHT)
    strips = tuple(
        _strip(metric, label, values, axis, ROW * (place + 0.5))
        for place, (label, values) in enumerate(groups.items())
    )
    return Distribution(measure(metric).head, strips, tuple(axis.ticks()))


def _strip(metric: str, label: str, values: list[float], axis: Axis, middle: float) -> Strip:
    ordered = sorted(values)
    low, centre, high = (float(q) for q in np.quantile(ordered, (0.25, 0.5, 0.75)))
    shown = ordered[:: -(-len(ordered) // _DOTS)]
    # up and down in turn, so that neighbours do not cover each other
    dots = tuple((axis(value), middle + 5 * (place % 5 - 2)) for place, value in enumerate(shown))
    summary = (
        f"{len(ordered)} photographs, median {as_text(metric, centre)}, half of them from "
        f"{as_text(metric, low)} to {as_text(metric, high)}"
    )
    extremes = (axis(ordered[0]), axis(ordered[-1]))
    return Strip(label, summary, middle, (axis(low), axis(centre), axis(high)), extremes, dots)

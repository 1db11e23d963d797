"""How the figures of single photographs are spread: a strip of dots and a box for each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from relit.grids import BEFORE_AFTER
from relit.measures import as_text, in_order, measure
from relit.report.axis import Axis, Tick
from relit.report.scores import ImageScore
from relit.report.tables import words

WIDTH, ROW, SIDE, BOTTOM = 400, 54, 14, 24
CAPTION = 12
"""Where a strip's name stands below the strip's upper end."""

_MIDDLE = 33
_DOTS = 400
"""Of larger groups every n-th dot is drawn, in order of their values; the box counts all."""

Group = tuple[str, int, list[float]]
"""Its name, its colour and its values."""


@dataclass(frozen=True)
class Strip:
    """One group: its quartiles, its extremes and its dots (x, y), in units of the drawing."""

    label: str
    colour: int
    summary: str
    top: float
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
    """A drawing for each metric: of one run with a strip for each label and kind of picture, such as result.

    Of several runs, a strip for each label and run's result; metrics that do not compare runs are left out.

    Args:
        runs: what each is called, and the figures of its photographs.
    """
    found = {metric for _, scores in runs for score in scores for _, metric in score.figures}
    drawn = {
        metric: _of_several(metric, runs) if len(runs) > 1 else _of_one(metric, runs[0][1])
        for metric in in_order(found)
    }
    return [_distribution(metric, groups) for metric, groups in drawn.items() if groups]


def _of_one(metric: str, scores: Sequence[ImageScore]) -> list[Group]:
    found = {kind for score in scores for kind, of in score.figures if of == metric}
    # input and result have their colours in every drawing
    kinds = sorted(found, key=lambda kind: (kind not in BEFORE_AFTER[:2], kind))
    return [
        (_named(label, words(kind)), colour, values)
        for label in _labels(scores)
        for colour, kind in enumerate(kinds)
        if (values := _values(scores, label, (kind, metric)))
    ]


def _of_several(metric: str, runs: Sequence[tuple[str, Sequence[ImageScore]]]) -> list[Group]:
    if measure(metric).better is None:
        return []
    return [
        (_named(label, run), colour, values)
        for label in _labels([score for _, scores in runs for score in scores])
        for colour, (run, scores) in enumerate(runs)
        if (values := _values(scores, label, ("result", metric)))
    ]


def _labels(scores: Sequence[ImageScore]) -> list[str]:
    return list(dict.fromkeys(score.label for score in scores))


def _named(label: str, of: str) -> str:
    return f"{label}, {of}" if label else of


def _values(scores: Sequence[ImageScore], label: str, figure: tuple[str, str]) -> list[float]:
    return [score.figures[figure] for score in scores if score.label == label and figure in score.figures]


def _distribution(metric: str, groups: Sequence[Group]) -> Distribution:
    axis = Axis([value for _, _, values in groups for value in values], SIDE, WIDTH - SIDE)
    strips = tuple(_strip(metric, group, axis, ROW * place) for place, group in enumerate(groups))
    return Distribution(measure(metric).head, strips, tuple(axis.ticks()))


def _strip(metric: str, group: Group, axis: Axis, top: float) -> Strip:
    label, colour, values = group
    ordered, middle = sorted(values), top + _MIDDLE
    low, centre, high = (float(q) for q in np.quantile(ordered, (0.25, 0.5, 0.75)))
    shown = ordered[:: -(-len(ordered) // _DOTS)]
    # up and down in turn, so that neighbours do not cover each other
    dots = tuple((axis(value), middle + 5 * (place % 5 - 2)) for place, value in enumerate(shown))
    counted = "1 photograph" if len(ordered) == 1 else f"{len(ordered)} photographs"
    low_text, centre_text, high_text = (as_text(metric, value) for value in (low, centre, high))
    summary = f"{counted}, median {centre_text}, half of them from {low_text} to {high_text}"
    extremes = (axis(ordered[0]), axis(ordered[-1]))
    box = (axis(low), axis(centre), axis(high))
    return Strip(label, colour, summary, top, middle, box, extremes, dots)

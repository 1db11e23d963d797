"""Training curves as small charts: a few for each stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relit.curves import LINEAR, SMOOTHED_FROM, by_unit, pieces, running_mean, term
from relit.logged import VALIDATION, Curve, by_stage
from relit.measures import measure
from relit.report.axis import Axis, Tick
from relit.report.run import Run
from relit.report.tables import words

WIDTH, HEIGHT = 340, 190
LEFT, TOP, RIGHT, BOTTOM = 46, 10, 12, 24

_POINTS = 200
"""A line is drawn by at most so many points."""


@dataclass(frozen=True)
class _Curves:
    """One curve before it is drawn."""

    label: str
    colour: int
    pieces: list[Curve]


@dataclass(frozen=True)
class Line:
    """One curve: SVG points of its pieces, smoothed, and faintly behind them as it was logged.

    ``colour`` counts terms, or runs where several are compared: a run has the same one in all charts.
    """

    label: str
    colour: int
    pieces: tuple[str, ...]
    faint: tuple[str, ...]


@dataclass(frozen=True)
class Chart:
    """Curves over steps, in units of a :data:`WIDTH` x :data:`HEIGHT` drawing.

    ``logarithmic`` says so of the values, whose ticks stand at powers of ten.
    """

    title: str
    logarithmic: bool
    legend: bool
    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]


def charts_of(runs: Sequence[tuple[str, Run]]) -> dict[str, list[Chart]]:
    """Charts by stage: of one run a chart for each unit, of several one for each term with a line a run.

    Args:
        runs: what each is called, and the run.
    """
    charts: dict[str, list[Chart]] = {}
    for stage, names in by_stage([run.curves for _, run in runs]).items():
        drawn = _of_several(names, runs) if len(runs) > 1 else _of_one(names, runs[0][1])
        heading = "validation" if stage == VALIDATION else words(stage)
        charts[heading] = [_chart(title, curves, len(runs) > 1) for title, curves in drawn.items()]
    return charts


def _of_one(names: Sequence[str], run: Run) -> dict[str, list[_Curves]]:
    """A colour for each term."""
    return {
        unit: [
            _Curves(words(term(name)), place, pieces(name, run.curves[name], run.boundaries))
            for place, name in enumerate(of_unit)
        ]
        for unit, of_unit in by_unit(names, [run.curves]).items()
    }


def _of_several(names: Sequence[str], runs: Sequence[tuple[str, Run]]) -> dict[str, list[_Curves]]:
    return {
        term(name): [
            _Curves(label, place, pieces(name, run.curves[name], run.boundaries))
            for place, (label, run) in enumerate(runs)
            if name in run.curves
        ]
        for name in names
    }


def _chart(title: str, curves: Sequence[_Curves], compared: bool) -> Chart:
    every = [piece for of_line in curves for piece in of_line.pieces]
    x = Axis([step for piece in every for step in piece], LEFT, WIDTH - RIGHT, whole=True)
    values = [value for piece in every for value in piece.values()]
    y = Axis(values, HEIGHT - BOTTOM, TOP, may_be_log=title not in LINEAR)
    lines = tuple(_line(of_line, x, y, not compared) for of_line in curves)
    legend = compared or len(lines) > 1
    return Chart(words(measure(title).head), y.log, legend, lines, tuple(x.ticks()), tuple(y.ticks()))


def _line(curves: _Curves, x: Axis, y: Axis, faint: bool) -> Line:
    logged = tuple(_points(piece, x, y) for piece in curves.pieces)
    if sum(map(len, curves.pieces)) < SMOOTHED_FROM:
        return Line(curves.label, curves.colour, logged, ())
    means = (dict(zip(piece, running_mean(list(piece.values())), strict=True)) for piece in curves.pieces)
    smooth = tuple(_points(piece, x, y) for piece in means)
    return Line(curves.label, curves.colour, smooth, logged if faint else ())


def _points(curve: Curve, x: Axis, y: Axis) -> str:
    logged = list(curve.items())
    thinned = logged[:: -(-len(logged) // _POINTS)]
    if thinned[-1] != logged[-1]:
        thinned.append(logged[-1])
    return " ".join(f"{x(step):g},{y(value):g}" for step, value in thinned)

"""Training curves as they are drawn: cut where stages end, on axes that fit."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from written_run import written_run

from relit.curves import running_mean
from relit.report.axis import Axis
from relit.report.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, charts_of
from relit.report.run import Run, read_run
from relit.run_state import FinishedStage, RunState


def run_with(curves: dict[str, dict[int, float]], *steps: int) -> Run:
    """A run that logged these curves in finished stages of so many steps."""
    stages = [FinishedStage(place, "x", count) for place, count in enumerate(steps, start=1)]
    return Run(Path("run"), {}, "", state=RunState("id", {}, stages), curves=curves)


def points(text: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (point.split(",") for point in text.split())]


def test_lines_reach_from_corner_to_corner() -> None:
    (chart,) = charts_of([("a", run_with({"s/loss": {0: 1.0, 5: 2.0, 10: 3.0}}, 11))])["s"]
    (line,) = chart.lines
    (drawn,) = line.pieces
    middle = ((LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2)
    assert points(drawn) == [(LEFT, HEIGHT - BOTTOM), pytest.approx(middle), (WIDTH - RIGHT, TOP)]


def test_a_curve_is_cut_where_another_stage_was_trained_in_between() -> None:
    """Two rounds: what is logged at 10 belongs to the second stage, at 30 to the fourth."""
    curves = {"tuning/loss": {10: 1.0, 15: 2.0, 19: 1.5, 30: 3.0, 35: 1.0}}
    (chart,) = charts_of([("a", run_with(curves, 10, 10, 10, 10))])["tuning"]
    assert [len(points(piece)) for piece in chart.lines[0].pieces] == [3, 2]


def test_validation_is_one_line_over_all_stages_and_stands_last() -> None:
    curves = {"val/psnr": {5: 15.0, 15: 18.0}, "tuning/loss": {6: 1.0}}
    charts = charts_of([("a", run_with(curves, 10, 10))])
    assert list(charts) == ["tuning", "validation"]
    assert [len(points(piece)) for piece in charts["validation"][0].lines[0].pieces] == [2]


def test_long_curves_are_smoothed_with_what_was_logged_behind_them() -> None:
    curve = {step: float(step % 2) for step in range(40)}
    (chart,) = charts_of([("a", run_with({"s/loss": curve}, 40))])["s"]
    smooth, faint = (points(group[0]) for group in (chart.lines[0].pieces, chart.lines[0].faint))
    height = HEIGHT - BOTTOM - TOP
    assert [y for _, y in faint] == [HEIGHT - BOTTOM - height * value for value in curve.values()]
    expected = [HEIGHT - BOTTOM - height * value for value in running_mean(list(curve.values()))]
    assert [y for _, y in smooth] == pytest.approx(expected, abs=0.06)


def test_a_million_steps_are_few_points_and_end_where_the_curve_ends() -> None:
    curve = {step: 1.0 + step for step in range(0, 1_000_000, 50)}
    (chart,) = charts_of([("a", run_with({"s/loss": curve}, 1_000_000))])["s"]
    drawn = points(chart.lines[0].pieces[0])
    assert len(drawn) <= 201
    assert drawn[-1][0] == WIDTH - RIGHT


def test_losses_over_decades_have_a_logarithmic_axis_and_similarities_never() -> None:
    curves = {name: {0: 1.0, 1: 0.1, 2: 0.01} for name in ("s/loss", "s/S_result")}
    by_title = {chart.title[:4]: chart for chart in charts_of([("a", run_with(curves, 3))])["s"]}
    for title, share in (("loss", 0.5), ("S (0", (0.1 - 0.01) / 0.99)):
        _, (_, y), _ = points(by_title[title].lines[0].pieces[0])
        assert y == pytest.approx(HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP), abs=0.06)
        assert by_title[title].logarithmic == (title == "loss")


def test_a_term_that_is_the_whole_loss_is_drawn_once() -> None:
    curves = {"s/loss": {0: 1.0, 1: 2.0}, "s/l1": {0: 1.0, 1: 2.0}, "s/accuracy": {0: 0.5}}
    losses, accuracy = charts_of([("a", run_with(curves, 2))])["s"]
    assert [line.label for line in losses.lines] == ["loss"]
    assert not losses.legend
    assert [line.label for line in accuracy.lines] == ["accuracy"]


def test_terms_share_a_chart_in_one_run_and_runs_in_several(tmp_path: Path) -> None:
    one, two = (read_run(written_run(tmp_path / name)) for name in ("one", "two"))
    (losses,) = charts_of([("one", one)])["restored priors"]
    assert [line.label for line in losses.lines] == ["loss", "l1"]
    compared = charts_of([("one", one), ("two", two)])["restored priors"]
    assert [(chart.title, [line.label for line in chart.lines]) for chart in compared] == [
        ("l1", ["one", "two"]),
        ("loss", ["one", "two"]),
    ]


def test_a_run_has_one_colour_in_all_charts() -> None:
    early, late = run_with({"s/l1": {0: 1.0}}, 1), run_with({"s/l1": {0: 1.0}, "s/sap": {0: 1.0}}, 1)
    l1, sap = charts_of([("a", early), ("b", late)])["s"]
    assert [(line.label, line.colour) for line in l1.lines] == [("a", 0), ("b", 1)]
    assert [(line.label, line.colour) for line in sap.lines] == [("b", 1)]
    assert sap.legend


@pytest.mark.parametrize(
    ("values", "log"), [([0.0, 100.0], False), ([1e-4, 1.0], True), ([5.0, 5.0], False), ([-3.0, 4.0], False)]
)
def test_ticks_are_few_and_stand_at_the_values_they_name(values: list[float], log: bool) -> None:
    axis = Axis(values, 0, 100, may_be_log=True)
    assert axis.log == log
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 6
    for tick in ticks:
        named = float(tick.text.replace(",", ""))
        low, high, at = (math.log(v) if log else v for v in (axis.low, axis.high, named))
        assert tick.at == pytest.approx(100 * (at - low) / (high - low), abs=0.06)


def test_steps_are_whole_numbers() -> None:
    assert [tick.text for tick in Axis([60, 61], 0, 100, whole=True).ticks()] == ["60", "61"]

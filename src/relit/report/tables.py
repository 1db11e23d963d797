"""Tables of figures: of one run, of its rounds, and of several runs against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from relit.measures import NOTHING, as_text, in_order, measure
from relit.report.run import Run

Figures = Mapping[str, Any]
"""Values by metric."""
Column = tuple[str, str]
"""Label of the photographs, empty for all of them, and metric."""

_NO_KIND = ("protocol", "by_label")
_ABOUT_ROUNDS = ("stage", "round")


@dataclass(frozen=True)
class Cell:
    """A figure: as it is read, exactly, and whether no other run has a better one."""

    text: str
    value: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Row:
    """What a line is about, and its figures."""

    heads: tuple[str, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Figures of one protocol; ``note`` says by which one, and on what they were measured."""

    heads: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str


def kinds_of(report: Mapping[str, Any]) -> dict[str, Figures]:
    """Figures by kind of picture: ``input``, ``result``, ``by_reference_priors`` ..., those that have any."""
    return {
        kind: figures
        for kind, figures in report.items()
        if kind not in _NO_KIND and isinstance(figures, Mapping) and figures
    }


def figures_of(metrics: Mapping[str, Any]) -> Table:
    """Every figure of ``metrics.json``: a line for each kind of picture, of each label and of all."""
    by_label = metrics.get("by_label") or {}
    groups = {"all": kinds_of(metrics)} | {
        label or "no label": kinds_of(by_label[label]) for label in by_label
    }
    lines = [(label, kind, figures) for label, kinds in groups.items() for kind, figures in kinds.items()]
    metrics_found = in_order({metric for _, _, figures in lines for metric in figures})
    rows = tuple(
        Row((label, words(kind)) if by_label else (words(kind),), _cells(figures, metrics_found))
        for label, kind, figures in lines
    )
    heads = ("label", "pictures") if by_label else ("pictures",)
    note = measured_on(metrics)
    if any(kind == "by_reference_priors" for _, kind, _ in lines):
        note += " By reference priors: in place of restored ones; no result, for nobody has them at hand."
    return Table(heads, _heads(metrics_found), rows, note)


def rounds_of(rounds: Sequence[Mapping[str, Any]]) -> Table:
    """``rounds.json``: the enhancer that each stage left, judged by the last prompts."""
    metrics_found = in_order({name for row in rounds for name in row if name not in _ABOUT_ROUNDS})
    rows = tuple(
        Row((words(str(row["stage"])), str(row.get("round") or NOTHING)), _cells(row, metrics_found))
        for row in rounds
    )
    note = "The enhancer that each stage left, by the same protocol. S is by the last prompts in every line."
    return Table(("enhancer after", "round"), _heads(metrics_found), rows, note)


def compared(runs: Sequence[tuple[str, Run]]) -> list[Table]:
    """Results of several runs, the best of each column marked; a table for each way they were measured.

    Args:
        runs: what each is called, and the run.
    """
    groups: dict[tuple[Any, ...], list[tuple[str, Mapping[str, Any]]]] = {}
    for label, run in runs:
        if run.metrics is not None:
            groups.setdefault(_comparable(run.metrics), []).append((label, run.metrics))
    return [_comparison(group) for group in groups.values()]


def measured_on(metrics: Mapping[str, Any]) -> str:
    """Protocol, photographs and their size, in one sentence."""
    protocol = metrics["protocol"]
    settings = [
        f"{words(key)} {value}"
        for key, value in protocol.items()
        if key not in ("name", "description") and value is not None
    ]
    return ", ".join([f"Protocol {protocol['name']}", photographs_of(metrics), *settings]) + "."


def photographs_of(metrics: Mapping[str, Any]) -> str:
    """How many photographs were measured, and which."""
    return f"{metrics.get('images', 'unknown')} photographs ({metrics.get('data', 'unknown')})"


def words(name: str) -> str:
    """A name of the code as people write it."""
    return name.replace("_", " ")


def cell(figures: Mapping[Any, float | str | None], key: Any, metric: str) -> Cell:
    """The figure of ``metric`` that stands under ``key``; null is the infinite PSNR of equal images."""
    if key not in figures:
        return Cell(NOTHING)
    figure = figures[key]
    # a figure that is no number is written as a text
    value = math.inf if figure is None and metric == "psnr" else None if figure is None else float(figure)
    return Cell(as_text(metric, value), value)


def _comparable(metrics: Mapping[str, Any]) -> tuple[Any, ...]:
    """Equal where figures of two runs are of the same photographs: their inputs then score the same."""
    protocol, given = metrics["protocol"], kinds_of(metrics).get("input", {})
    inputs = tuple(as_text(metric, given.get(metric)) for metric in ("psnr", "ssim"))
    return (protocol["name"], protocol.get("test_size"), metrics.get("data"), metrics.get("images"), inputs)


def _comparison(group: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    given = _by_column(group[0][1], "input")
    results = [(label, _by_column(metrics, "result")) for label, metrics in group]
    found = {column for figures in (given, *(of for _, of in results)) for column in figures}
    columns = [
        (label, metric)
        for label in sorted({label for label, _ in found})
        for metric in in_order({metric for of, metric in found if of == label})
    ]
    note = measured_on(group[0][1])
    if len(group) > 1 and ("", "S") in found:
        # nor has the input one S for all
        given.pop(("", "S"), None)
        note += " S is by each run's own prompts, so no run is the best in it."
    input_row, *rows = (
        Row((label,), tuple(cell(figures, column, column[1]) for column in columns))
        for label, figures in [("input", given), *results]
    )
    if len(group) > 1:
        rows = _mark_best([metric for _, metric in columns], rows)
    heads = tuple(f"{label} {measure(metric).head}".strip() for label, metric in columns)
    return Table(("run",), heads, (input_row, *rows), note)


def _by_column(metrics: Mapping[str, Any], kind: str) -> dict[Column, Any]:
    groups = {"": metrics, **(metrics.get("by_label") or {})}
    return {
        (of, name): value for of, kinds in groups.items() for name, value in (kinds.get(kind) or {}).items()
    }


def _mark_best(metrics: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    marked = [list(row.cells) for row in rows]
    for place, metric in enumerate(metrics):
        better = measure(metric).better
        found = [row.cells[place].value for row in rows]
        values = [value for value in found if value is not None and not math.isnan(value)]
        if better is None or not values:
            continue
        best = as_text(metric, max(values) if better == "higher" else min(values))
        for cells in marked:
            # what reads the same is as good
            cells[place] = replace(cells[place], best=cells[place].text == best)
    return [replace(row, cells=tuple(cells)) for row, cells in zip(rows, marked, strict=True)]


def _cells(figures: Figures, metrics: Sequence[str]) -> tuple[Cell, ...]:
    return tuple(cell(figures, metric, metric) for metric in metrics)


def _heads(metrics: Sequence[str]) -> tuple[str, ...]:
    return tuple(measure(metric).head for metric in metrics)

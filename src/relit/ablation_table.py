"""The table of an ablation: what the runs of each row measured, beside the figures that the paper printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import mean, stdev
from typing import Any

HEADS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "S": "S (0 = well lit)"}
NO_REFERENCES = (
    "PSNR and SSIM need references: data.test_input=DIR data.test_reference=DIR. "
    "Each row's S is by its own prompts, so it does not compare rows."
)
DECIMALS = {"psnr": 2, "ssim": 3, "S": 3}


@dataclass(frozen=True)
class PaperRow:
    """A row as the paper printed it.

    Attributes:
        label: its name.
        value: what the swept group or key is in its runs.
        psnr: in dB.
        ssim: of 1.
    """

    label: str
    value: Any
    psnr: float
    ssim: float


@dataclass(frozen=True)
class Run:
    """What came of one run.

    Attributes:
        value: of the swept group or key.
        seed: of the run.
        figures: ``psnr``, ``ssim`` and ``S`` of the results, as far as they were measured.
        setting: what the figures depend on, by name. Runs of one table may differ in it.
        failure: why the run ended early; None if it did not.
    """

    value: Any
    seed: int
    figures: Mapping[str, float] = field(default_factory=dict)
    setting: Mapping[str, Any] = field(default_factory=dict)
    failure: str | None = None


def tabulate(title: str, tested_on: str, paper: Sequence[PaperRow], runs: Sequence[Run]) -> dict[str, Any]:
    """The table as plain containers: the paper's rows first, then rows that the paper does not have.

    Args:
        title: of the table.
        tested_on: the data set whose test photographs the paper's figures are of.
        paper: its rows.
        runs: of any row, in any order.

    Returns:
        ``title`` and ``tested_on``; ``rows``, each with ``label``, ``value``, ``figures`` (``{name: {mean,
        spread}}``), the ``seeds`` they are of, ``failed`` (``[{seed, reason}]``) and ``paper`` (its figures
        or None); ``order``, see :func:`order_of`; ``setting``, the values that each setting had; ``seeds``
        of all runs.
        The spread is the standard deviation over seeds, n - 1 in the denominator; None for one seed.
    """
    values = [row.value for row in paper]
    for run in runs:
        if run.value not in values:
            values.append(run.value)
    rows = []
    for place, value in enumerate(values):
        printed = paper[place] if place < len(paper) else None
        rows.append(_row(value, printed, [run for run in runs if run.value == value]))
    settings = [run.setting for run in runs if run.failure is None]
    return {
        "title": title,
        "tested_on": tested_on,
        "rows": rows,
        "order": order_of(rows),
        "setting": _values_by_name(settings),
        "seeds": sorted({run.seed for run in runs}),
    }


def order_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Whether the rows stand in the paper's order by mean PSNR.

    Args:
        rows: of :func:`tabulate`; those that lack either PSNR are left out.

    Returns:
        ``pairs`` of rows that can be compared, ``as_in_paper``, how many of them stand the same way round,
        and ``best_first``, the rows' labels.
    """
    both = [
        (row["figures"]["psnr"]["mean"], row["paper"]["psnr"], row["label"])
        for row in rows
        if "psnr" in row["figures"] and row["paper"] is not None
    ]
    pairs = list(combinations(both, 2))
    alike = sum((a[0] - b[0]) * (a[1] - b[1]) > 0 for a, b in pairs)
    best_first = [label for _, _, label in sorted(both, key=lambda row: -row[0])]
    return {"pairs": len(pairs), "as_in_paper": alike, "best_first": best_first}


def as_text(table: Mapping[str, Any]) -> str:
    """The table of :func:`tabulate` in Markdown, aligned, with what its figures depend on below."""
    paired = any("psnr" in row["figures"] for row in table["rows"])
    columns = ["psnr", "ssim"] if paired or not any(row["figures"] for row in table["rows"]) else ["S"]
    heads = ["row", *(HEADS[name] for name in columns), "seeds", "paper: PSNR (dB)", "paper: SSIM"]
    decimals = {name: _decimals(table["rows"], name) for name in ("psnr", "ssim")}
    lines = [heads, *(_cells(row, columns, decimals) for row in table["rows"])]
    notes = [*_failures(table["rows"]), _setting(table)]
    if any(figure["spread"] is not None for row in table["rows"] for figure in row["figures"].values()):
        notes.append("± is the standard deviation over seeds.")
    notes.append(_order(table["order"]) if columns != ["S"] else NO_REFERENCES)
    notes.append(
        f"The paper's figures: {table['tested_on']}'s test set, the paper's CLIP and steps. What compares is "
        "the order."
    )
    return "\n".join([table["title"], "", *_aligned(lines), "", *(f"* {note}" for note in notes), ""])


def name_of(value: Any, paper: Sequence[PaperRow] = ()) -> str:
    """What a row is called: as in the paper, or by its value; several folders are joined by ``+``."""
    for row in paper:
        if row.value == value:
            return row.label
    return " + ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _row(value: Any, printed: PaperRow | None, runs: Sequence[Run]) -> dict[str, Any]:
    finished = [run for run in runs if run.failure is None]
    figures = {}
    for name in DECIMALS:
        measured = [run.figures[name] for run in finished if name in run.figures]
        if measured and len(measured) == len(finished):
            spread = stdev(measured) if len(measured) > 1 else None
            figures[name] = {"mean": mean(measured), "spread": spread}
    return {
        "label": name_of(value, [] if printed is None else [printed]),
        "value": value,
        "figures": figures,
        "seeds": [run.seed for run in finished],
        "failed": [{"seed": run.seed, "reason": run.failure} for run in runs if run.failure is not None],
        "paper": None if printed is None else {"psnr": printed.psnr, "ssim": printed.ssim},
    }


def _cells(row: Mapping[str, Any], columns: Sequence[str], decimals: Mapping[str, int]) -> list[str]:
    absent = "-"
    if not row["seeds"]:
        absent = "failed" if row["failed"] else "not run"
    cells = [row["label"]]
    for name in columns:
        figure = row["figures"].get(name)
        cells.append(absent if figure is None else _figure(figure, DECIMALS[name]))
    runs = len(row["seeds"]) + len(row["failed"])
    cells.append(f"{len(row['seeds'])} of {runs}" if row["failed"] else str(runs))
    paper = row["paper"]
    return [
        *cells,
        *("-" if paper is None else f"{paper[name]:.{digits}f}" for name, digits in decimals.items()),
    ]


def _decimals(rows: Iterable[Mapping[str, Any]], name: str) -> int:
    """With how many decimals the paper printed a figure."""
    figures = [row["paper"][name] for row in rows if row["paper"] is not None]
    return max((len(str(figure).partition(".")[2]) for figure in figures), default=0)


def _figure(figure: Mapping[str, float | None], decimals: int) -> str:
    text = f"{figure['mean']:.{decimals}f}"
    return text if figure["spread"] is None else f"{text} ± {figure['spread']:.{decimals}f}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table: the first column flush left, figures flush right, the head's rule below it."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [
        "| " + " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + " |"
        for line in (lines[0], rule, *lines[1:])
    ]


def _failures(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return [
        f"Failed: {row['label']}, seed {failed['seed']}: {failed['reason']}"
        for row in rows
        for failed in row["failed"]
    ]


def _setting(table: Mapping[str, Any]) -> str:
    """One line, such as ``Here: protocol=rgb8, data=sample, steps=24 or 30, seeds 0 1 2.``"""
    parts = [f"{name}={' or '.join(map(str, values))}" for name, values in table["setting"].items()]
    return "Here: " + ", ".join([*parts, f"seeds {' '.join(map(str, table['seeds']))}"]) + "."


def _order(order: Mapping[str, Any]) -> str:
    pairs, alike = order["pairs"], order["as_in_paper"]
    if pairs == 0:
        return "Too few rows to compare their order with the paper's."
    if alike == pairs:
        return "Order of rows by PSNR: as in the paper."
    best_first = "; ".join(order["best_first"])
    return f"Order of rows by PSNR: not the paper's ({alike} of {pairs} pairs are). Best first: {best_first}."


def _values_by_name(settings: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The values that each setting had, each once; a run may lack one, such as a CLIP."""
    found: dict[str, list[Any]] = {}
    for setting in settings:
        for name, value in setting.items():
            values = found.setdefault(name, [])
            if value not in values:
                values.append(value)
    return found

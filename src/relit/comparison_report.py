"""A comparison as a table to read, and as JSON and CSV to go on with."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from relit.comparison import Comparison, MethodScores, Score
from relit.measurement import Figures
from relit.measures import measure


def table(comparison: Comparison) -> str:
    """The figures as a markdown table, with the protocol, and what to know of them, below.

    One row for each method; where there are labels or several experts, one for each of their photographs.
    Of several methods the best and the second best figure of a metric are marked.
    """
    metrics, groups = comparison.metrics, _groups(comparison)
    head = ["method", *(measure(metric).head for metric in metrics)]
    rows = [
        [name, *cells]
        for group in groups.values()
        for name, cells in zip(group, _marked(list(group.values()), metrics), strict=True)
    ]
    if len(groups) > 1:
        head = ["photographs", *head]
        titles = [title for title, group in groups.items() for _ in group]
        rows = [[title, *row] for title, row in zip(titles, rows, strict=True)]
    return "\n".join([*_markdown(head, rows, len(metrics)), "", *_below(comparison)])


def report(comparison: Comparison) -> dict[str, Any]:
    """For JSON, which knows no infinity: null stands for it.

    One method's figures stand at the top, those of several under ``methods`` by name.
    """
    protocol, folder = comparison.protocol, comparison.references
    top = {
        **({} if folder is None else {"gt": str(folder)}),
        "protocol": {"name": protocol.name, "description": protocol.description},
        "images": comparison.images,
        "unavailable": dict(comparison.unavailable),
        "notes": list(comparison.notes),
    }
    found = {name: _method(method) for name, method in comparison.methods.items()}
    return {**top, **next(iter(found.values()))} if len(found) == 1 else {**top, "methods": found}


def as_csv(comparison: Comparison) -> str:
    """One row for each image, and within one for each expert; every row names its protocol."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "name", "label", "expert", *comparison.metrics, "protocol"])
    for name, method in comparison.methods.items():
        for score in method.scores:
            figures = [score.figures[metric] for metric in comparison.metrics]
            row = [name, score.name, score.label, score.expert, *figures]
            writer.writerow([*row, comparison.protocol.name])
    return text.getvalue()


def _groups(comparison: Comparison) -> dict[str, dict[str, Figures]]:
    """Means by group of photographs, then by method; groups as the first method has them."""
    found = {name: method.groups() for name, method in comparison.methods.items()}
    titles = next(iter(found.values()))
    return {title: {name: groups[title] for name, groups in found.items()} for title in titles}


def _marked(rows: Sequence[Figures], metrics: Sequence[str]) -> Iterator[list[str]]:
    """Cells of each row; of several the best figure is marked ``*``, of three or more the second ``+``."""
    ranks: dict[str, list[str]] = {}
    for metric in metrics:
        values = sorted((row[metric] for row in rows), reverse=measure(metric).better == "higher")
        # figures that print alike share their rank
        ranks[metric] = list(dict.fromkeys(_cell(metric, value) for value in values))
    for row in rows:
        cells = {metric: _cell(metric, row[metric]) for metric in metrics}
        yield [_mark(cell, ranks[metric], len(rows)) for metric, cell in cells.items()]


def _cell(metric: str, value: float) -> str:
    return f"{value:.{measure(metric).digits}f}"


def _mark(cell: str, ranks: Sequence[str], methods: int) -> str:
    if methods == 1:
        return cell
    marks = {ranks[0]: "*", **({ranks[1]: "+"} if methods > 2 and len(ranks) > 1 else {})}
    return f"{cell} {marks.get(cell, ' ')}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]], figures: int) -> list[str]:
    """Aligned for a terminal; the last ``figures`` columns to the right."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(head))]
    right = [i >= len(head) - figures for i in range(len(head))]
    rule = ["-" * (width - 1) + (":" if of else "-") for width, of in zip(widths, right, strict=True)]
    lines = [
        [
            cell.rjust(width) if of else cell.ljust(width)
            for cell, width, of in zip(row, widths, right, strict=True)
        ]
        for row in cells
    ]
    return [f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])]


def _below(comparison: Comparison) -> Iterator[str]:
    images, methods = comparison.images, comparison.methods
    yield f"{images:,} image{'' if images == 1 else 's'}, protocol {comparison.protocol.name}"
    if len(methods) > 1:
        second = ", + second best" if len(methods) > 2 else ""
        lower = [measure(name).head for name in comparison.metrics if measure(name).better == "lower"]
        yield f"* best{second}" + (f"; of {' and '.join(lower)} the lowest" if lower else "")
    experts = next(iter(methods.values())).experts
    if len(experts) > 1:
        yield "all, under and over: by the references of expert C"
    missed = [f"{method.not_common:,} of {name}" for name, method in methods.items() if method.not_common]
    if missed:
        yield f"only images that all methods have are compared; left out: {', '.join(missed)}"
    yield from comparison.notes
    for name, reason in comparison.unavailable.items():
        yield f"{measure(name).head} is unavailable: {reason}"


def _method(method: MethodScores) -> dict[str, Any]:
    groups = method.groups()
    overall = groups.pop("all")
    return {
        "pred": str(method.folder),
        **_finite(overall),
        **({"groups": {title: _finite(figures) for title, figures in groups.items()}} if groups else {}),
        "per_image": [_image(score) for score in method.scores],
        "unmatched": [{"file": str(path), "reason": reason} for path, reason in method.unmatched],
        "left_out": [{"file": str(path), "reason": reason} for path, reason in method.left_out],
        "not_common": method.not_common,
    }


def _image(score: Score) -> dict[str, Any]:
    label = {"label": score.label} if score.label else {}
    expert = {"expert": score.expert} if score.expert else {}
    return {"name": score.name, **label, **expert, **_finite(score.figures)}


def _finite(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}

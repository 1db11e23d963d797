"""Figures of a run's test photographs: measured by all ranks, each its share, and put together exactly."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import torch.distributed
from torch import Tensor

from relit.atomic import atomic_write
from relit.measurement import Figures, Measurement
from relit.protocols import Protocol

if TYPE_CHECKING:
    from relit.run_context import RunContext

SCORES_FILE = "scores.csv"

Measure = Callable[[int], "Scored"]


@dataclass(frozen=True)
class Scored:
    """One photograph's figures.

    Attributes:
        index: its place among all photographs.
        name: as its pictures are named.
        label: what is wrong with the input; empty where that is not known.
        figures: by kind of picture (``input``, ``result`` ...), then by metric.
    """

    index: int
    name: str
    label: str
    figures: Mapping[str, Figures]


def score_all(context: RunContext, count: int, measure: Measure) -> list[Scored]:
    """Photographs 0 to ``count`` - 1, each measured by one rank alone; on every rank all of them, in order.

    The figures of one photograph come from one process, and means are taken of the whole list, so they do not
    depend on the number of processes. Ranks wait for each other once, at the end; what one of them fails with
    ends all.
    """
    found, failure = _share(range(context.rank, count, context.world_size), measure)
    parts = [(found, failure)]
    if context.world_size > 1:
        parts *= context.world_size
        torch.distributed.all_gather_object(parts, (found, failure))
    for _, failure in parts:
        if failure is not None:
            raise failure
    return sorted((scored for part, _ in parts for scored in part), key=lambda scored: scored.index)


def _share(indices: Iterable[int], measure: Measure) -> tuple[list[Scored], Exception | None]:
    found: list[Scored] = []
    try:
        for index in indices:
            found.append(measure(index))
    except Exception as error:  # raised again when the other ranks know of it
        return found, error
    return found, None


def compared(
    measurement: Measurement, pictures: Mapping[str, Tensor], kinds: Iterable[str]
) -> dict[str, Figures]:
    """Figures of each of ``kinds`` as far as they are there; all (1, 3, H, W).

    Without a ``reference`` only what needs none is measured.
    """
    reference = pictures.get("reference")
    found = {kind: measurement(pictures[kind], reference) for kind in kinds if kind in pictures}
    return {kind: figures for kind, figures in found.items() if figures}


def means(scores: Sequence[Scored]) -> dict[str, Figures]:
    """By kind of picture: of each metric over the photographs that have it."""
    values: dict[str, dict[str, list[float]]] = {}
    for scored in scores:
        for kind, figures in scored.figures.items():
            for metric, value in figures.items():
                values.setdefault(kind, {}).setdefault(metric, []).append(value)
    return {kind: {metric: fmean(found) for metric, found in row.items()} for kind, row in values.items()}


def write_scores(run_dir: Path, scores: Sequence[Scored], protocol: Protocol) -> Path:
    """Write ``scores.csv`` atomically, one row for each photograph, and return the file."""
    columns = {(kind, metric): None for one in scores for kind, row in one.figures.items() for metric in row}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "label", *(f"{kind}_{metric}" for kind, metric in columns), "protocol"])
    for one in scores:
        figures = [one.figures.get(kind, {}).get(metric, "") for kind, metric in columns]
        writer.writerow([one.name, one.label, *figures, protocol.name])
    path = run_dir / SCORES_FILE
    atomic_write(path, text.getvalue().encode(errors="backslashreplace"))
    return path

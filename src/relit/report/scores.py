"""``scores.csv`` read back: figures of single photographs."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relit.errors import ConfigurationError

_NO_FIGURE = ("name", "label", "protocol")


@dataclass(frozen=True)
class ImageScore:
    """One photograph.

    Attributes:
        label: what is wrong with it, such as ``under``; may be empty.
        figures: by kind of picture and metric; without those that are not there or not finite.
    """

    label: str
    figures: Mapping[tuple[str, str], float]


def read_scores(file: Path) -> list[ImageScore]:
    """Read what :func:`relit.run_scores.write_scores` wrote; empty where there is no such file.

    Raises:
        ConfigurationError: a figure is no number, the column ``name`` is missing, or it is no CSV.
    """
    if not file.exists():
        return []
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            table = csv.DictReader(opened)
            if "name" not in (table.fieldnames or ()):
                raise ConfigurationError(
                    f"{file}: has no column 'name'. Give the command that trained the run again: it measures "
                    "anew. Or remove the file, and the report goes without."
                )
            return [_score(row, f"{file}, line {table.line_num}") for row in table]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{file}: can't be read as CSV: {error}") from error


def _score(row: Mapping[str, str | None], place: str) -> ImageScore:
    figures: dict[tuple[str, str], float] = {}
    for column, text in row.items():
        if column in _NO_FIGURE or not text:
            continue
        try:
            value = float(text)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{place}: {column} is {text!r}, not a number.") from error
        if math.isfinite(value):
            kind, _, metric = column.rpartition("_")
            figures[kind, metric] = value
    return ImageScore(row.get("label") or "", figures)

"""``scores.csv``: figures of single photographs."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relit.errors import ConfigurationError

_NO_FIGURE = ("name", "label")


@dataclass(frozen=True)
class ImageScore:
    """One photograph.

    Attributes:
        name: of its file.
        label: what is wrong with it, such as ``under``; may be empty.
        figures: by metric; without those that are not there or not finite.
    """

    name: str
    label: str
    figures: Mapping[str, float]


def read_scores(file: Path) -> list[ImageScore]:
    """Read a table with the columns ``name``, ``label`` and one for each metric; empty if there is none.

    Raises:
        ConfigurationError: a figure is no number, the column ``name`` is missing, or it is no CSV.
    """
    if not file.exists():
        return []
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            table = csv.DictReader(opened)
            if "name" not in (table.fieldnames or ()):
                raise ConfigurationError(f"{file}: has no column 'name'; expected name,label,psnr,ssim,...")
            return [_score(row, f"{file}, line {table.line_num}") for row in table]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{file}: can't be read as CSV: {error}") from error


def _score(row: Mapping[str, str | None], place: str) -> ImageScore:
    figures: dict[str, float] = {}
    for metric, text in row.items():
        if metric in _NO_FIGURE or not text:
            continue
        try:
            value = float(text)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{place}: {metric} is {text!r}, not a number.") from error
        if math.isfinite(value):
            figures[metric] = value
    return ImageScore(row["name"] or "", row.get("label") or "", figures)

"""How figures are written, and which of two is the better one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

NOTHING = "\N{EN DASH}"
"""Stands where there is no figure."""


@dataclass(frozen=True)
class Measure:
    """How a metric is shown.

    Attributes:
        head: of its column.
        digits: after the point.
        better: which of two runs' figures is the better one; None where runs can't be compared by it.
    """

    head: str
    digits: int = 3
    better: Literal["higher", "lower"] | None = None


MEASURES = {
    "psnr": Measure("PSNR (dB)", 2, "higher"),
    "ssim": Measure("SSIM", 3, "higher"),
    "lpips": Measure("LPIPS", 3, "lower"),
    "musiq": Measure("MUSIQ", 2, "higher"),
    # by each run's own prompts, so not from run to run
    "S": Measure("S (0 = well lit)", 3),
}
"""By the name in result files, in the order of columns; others follow."""

MEASURABLE = ("psnr", "ssim", "lpips", "musiq")
"""What can be measured of any image; S needs the prompts of a run."""


def measure(metric: str) -> Measure:
    """How ``metric`` is shown; an unknown one by its name and three digits."""
    return MEASURES.get(metric, Measure(metric))


def in_order(metrics: set[str]) -> list[str]:
    """Known metrics first, in their order."""
    known = [metric for metric in MEASURES if metric in metrics]
    return known + sorted(metrics - MEASURES.keys())


def as_text(metric: str, value: float | None) -> str:
    """A figure as it is read; :data:`NOTHING` where there is none."""
    if value is None:
        return NOTHING
    return "∞" if math.isinf(value) else f"{value:.{measure(metric).digits}f}"

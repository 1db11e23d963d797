"""One axis of a small chart: where values stand on it, and its ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import LogLocator, MaxNLocator

from relit.curves import spans_decades


@dataclass(frozen=True)
class Tick:
    """A place on the axis, in the chart's units, and what is written there."""

    at: float
    text: str


class Axis:
    """Maps values to the chart's units.

    Args:
        values: those that must fit; not empty.
        begin, end: where the axis begins and ends; ``end`` may be the smaller one.
        may_be_log: whether it is logarithmic where values span decades.
        whole: whether only whole numbers have ticks.
    """

    def __init__(
        self,
        values: Sequence[float],
        begin: float,
        end: float,
        may_be_log: bool = False,
        whole: bool = False,
    ) -> None:
        low, high = min(values), max(values)
        self.log = may_be_log and spans_decades(values)
        if low == high:
            low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
        self.low, self.high, self.begin, self.end = low, high, begin, end
        self.whole = whole

    def __call__(self, value: float) -> float:
        """Where ``value`` stands."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return round(self.begin + (self.end - self.begin) * (self._scaled(value) - low) / (high - low), 1)

    def ticks(self) -> list[Tick]:
        """A few round values between the extremes."""
        linear = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], integer=self.whole)
        locator = LogLocator(numticks=5) if self.log else linear
        found = [float(v) for v in locator.tick_values(self.low, self.high) if self.low <= v <= self.high]
        return [Tick(self(value), _written(value)) for value in found]

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value


def _written(value: float) -> str:
    value = round(value, 12) + 0.0
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"

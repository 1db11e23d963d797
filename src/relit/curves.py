"""Logged curves as they are drawn: what shares an axis, where a line breaks, and how it is smoothed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from relit.logged import VALIDATION, Curve

SMOOTHED_FROM = 20
"""Points from which on a line shows the running mean: validations are few, and shown as they are."""

LINEAR = ("S", "psnr", "ssim", "accuracy")
"""Units that are not drawn on a logarithmic axis, as losses may be."""

_SMOOTH = 0.9
"""Weight of the past in the drawn running mean."""
_LOG_FROM = 30
"""Positive values whose extremes differ by more than this factor get a logarithmic axis."""


def term(name: str) -> str:
    """What was logged, of ``stage/term``."""
    return name.partition("/")[2]


def unit(name: str) -> str:
    """What a term can share an axis with: losses with each other, S of all kinds of photographs."""
    found = term(name)
    if found == "S" or found.startswith("S_"):
        return "S"
    return found if found in LINEAR else "loss"


def by_unit(names: Sequence[str], logs: Sequence[dict[str, Curve]]) -> dict[str, list[str]]:
    """Names of one stage by unit, the whole loss first; a term that is the whole loss is left out."""
    whole = next((name for name in names if term(name) == "loss"), None)
    units: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: name != whole):
        same = whole is not None and all(log.get(name) == log.get(whole) for log in logs)
        if name == whole or unit(name) != "loss" or not same:
            units.setdefault(unit(name), []).append(name)
    return units


def pieces(name: str, curve: Curve, boundaries: Sequence[int]) -> list[Curve]:
    """The curve, cut where another stage began: in between, other things were trained.

    Args:
        name: of the curve; validation goes on over all stages.
        curve: not empty.
        boundaries: steps, ascending, at which a stage ended.
    """
    if name.partition("/")[0] == VALIDATION:
        return [curve]
    found: dict[int, Curve] = {}
    for step, value in curve.items():
        found.setdefault(bisect_right(boundaries, step), {})[step] = value
    return list(found.values())


def running_mean(values: Sequence[float]) -> list[float]:
    """Exponential means of what came so far, the first values not counted more than the later ones."""
    means, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = _SMOOTH * total + value, _SMOOTH * weight + 1
        means.append(total / weight)
    return means


def spans_decades(values: Sequence[float]) -> bool:
    """Whether values are all positive and lie so far apart that only a logarithmic axis shows them all."""
    return min(values) > 0 and max(values) > _LOG_FROM * min(values)

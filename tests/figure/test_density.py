"""The smooth density is one: its integral, its place, and single values by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from relit.figure.density import density

AT = np.linspace(0, 1, 4001)


@pytest.mark.parametrize(
    "values", [[0.0, 0.0, 0.0], [0.5], [0.001, 0.002, 0.9], [0.2, 0.4, 0.6, 0.8, 1.0]], ids=str
)
def test_its_integral_over_the_unit_interval_is_one(values: list[float]) -> None:
    assert np.trapezoid(density(values, AT), AT) == pytest.approx(1, abs=1e-3)


def test_of_one_value_it_is_a_bell_around_it() -> None:
    at = np.array([0.5, 0.51, 0.9])
    peak = 1 / (0.01 * math.sqrt(2 * math.pi))
    assert density([0.5], at) == pytest.approx([peak, peak * math.exp(-0.5), 0])


def test_its_width_is_silvermans() -> None:
    values = [0.4, 0.45, 0.5, 0.55, 0.6]
    width = 0.9 * min(float(np.std(values)), 0.1 / 1.34) * 5**-0.2
    by_hand = sum(math.exp(-0.5 * ((0.47 - v) / width) ** 2) for v in values)
    expected = by_hand / (5 * width * math.sqrt(2 * math.pi))
    assert density(values, np.array([0.47])) == pytest.approx([expected])

"""A smooth density of values in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_LEAST = 0.01
"""Of the bandwidth: equal values would have none."""


def density(values: Sequence[float], at: np.ndarray) -> np.ndarray:
    """Gaussian kernel density estimate, mirrored at 0 and 1 so that no share of it lies outside.

    The bandwidth is Silverman's rule of thumb, 0.9 min(standard deviation, quartile distance / 1.34) n^-0.2,
    and at least 0.01.

    Args:
        values: n of them, in [0, 1].
        at: places in [0, 1].

    Returns:
        The density there; over [0, 1] its integral is 1.
    """
    found = np.asarray(values, dtype=float)
    low, high = np.quantile(found, (0.25, 0.75))
    spreads = [spread for spread in (found.std(), (high - low) / 1.34) if spread > 0]
    width = max(0.9 * min(spreads, default=0.0) * len(found) ** -0.2, _LEAST)
    mirrored = np.concatenate([found, -found, 2 - found])
    kernels = np.exp(-0.5 * ((at[:, None] - mirrored) / width) ** 2)
    return kernels.sum(axis=1) / (len(found) * width * np.sqrt(2 * np.pi))

"""A sampler with a bug."""

from __future__ import annotations

from typing import Any

from optuna.samplers import RandomSampler


class BrokenSampler(RandomSampler):
    """Fails where it is asked for a value, as a mistake in a sampler's code would."""

    def sample_independent(self, *arguments: Any, **named: Any) -> Any:
        raise ValueError("too many values to unpack")

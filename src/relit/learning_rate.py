"""How a stage's learning rate changes over its steps, and with the number of processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

SCALINGS: dict[str, Callable[[int], float]] = {"none": lambda _: 1.0, "linear": float, "sqrt": math.sqrt}
"""Factors on learning rates by the number of processes, each of which has a batch of its own."""


def scaled_rates(settings: Mapping[str, Any], rule: str, processes: int) -> dict[str, Any]:
    """The settings of a stage's module with learning rates for ``processes`` times the batch.

    Args:
        settings: node of the module; rates are the numbers under ``lr`` and ``*_lr``, at any depth.
        rule: one of :data:`SCALINGS`: ``linear`` (Goyal et al., 2017), ``sqrt``, or ``none``.
        processes: of the run.
    """
    factor = SCALINGS[rule](processes)

    def scaled(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: scaled(name, one) for name, one in value.items()}
        is_rate = (key == "lr" or key.endswith("_lr")) and isinstance(value, int | float)
        return value * factor if is_rate else value

    return {name: scaled(name, value) for name, value in settings.items()}


def warmup_cosine(
    optimizer: torch.optim.Optimizer, steps: int, warmup: int = 0, floor: float = 0.01
) -> torch.optim.lr_scheduler.LambdaLR:
    """A linear rise over ``warmup`` steps, then a half cosine to ``floor`` times the rate at ``steps``.

    Args:
        optimizer: its learning rates are the highest ones.
        steps: of the stage.
        warmup: how many of them rise; 0 for cosine annealing alone.
        floor: the last rate over the highest.
    """

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
        progress = min(1.0, max(0.0, (step - warmup) / max(1, steps - warmup)))
        return rise * (floor + (1 - floor) * 0.5 * (1 + math.cos(progress * math.pi)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

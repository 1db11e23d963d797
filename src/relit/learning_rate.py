"""How a stage's learning rate changes over its steps."""

from __future__ import annotations

import math

import torch


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

"""The last steps' values of a figure, such as the loss, by which a stage decides."""

from __future__ import annotations

from collections import deque

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor

WATCHED_STEPS = 30
"""This many last steps decide, as in the CLIP-LIT release."""


class Window:
    """The last :data:`WATCHED_STEPS` values, kept on their device: only :meth:`mean` waits for it.

    ``mean`` and ``state`` are to be called on all ranks together.
    """

    def __init__(self) -> None:
        self._values: deque[Tensor] = deque(maxlen=WATCHED_STEPS)

    @property
    def full(self) -> bool:
        """Whether there are :data:`WATCHED_STEPS` values."""
        return len(self._values) == WATCHED_STEPS

    def add(self, value: Tensor) -> None:
        """Note a scalar; the oldest one goes when the window is full."""
        self._values.append(value.detach().to(torch.float32, copy=True))

    def clear(self) -> None:
        """Begin anew."""
        self._values.clear()

    def mean(self, strategy: Strategy) -> float:
        """The mean over values and ranks."""
        return float(strategy.reduce(torch.stack(list(self._values)).mean()))

    def state(self, strategy: Strategy) -> Tensor:
        """The values, each a mean over ranks, (n,) on the CPU: for a checkpoint, which all ranks load."""
        if not self._values:
            return torch.empty(0)
        return strategy.reduce(torch.stack(list(self._values))).cpu()

    def load(self, values: Tensor, strategy: Strategy) -> None:
        """Take up what :meth:`state` gave."""
        self._values = deque(values.to(strategy.root_device).unbind(), maxlen=WATCHED_STEPS)

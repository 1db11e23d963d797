"""What a stage's module is built from, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from relit.weights import Weights


@dataclass(frozen=True)
class StageContext:
    """What a stage's module is built from.

    Attributes:
        name: the stage's key under ``stage``.
        index: its place in the plan, from 1.
        count: stages in the plan.
        round: 1-based refinement round; 0 before the rounds.
        seed: key of all the stage's random numbers: a function of the run's seed, ``index`` and ``name``.
        weights: handed over so far, on the CPU. Copy before changing in place.
        run_dir: the run's directory.
        clip: the frozen CLIPs by role; empty where the configuration has none.
        network: builds a new network from the ``network`` node.
        compile: whether :meth:`compiled` compiles.
    """

    name: str
    index: int
    count: int
    round: int
    seed: int
    weights: Weights
    run_dir: Path
    clip: Mapping[str, Any]
    network: Callable[[], nn.Module]
    compile: bool = False

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function`` through ``torch.compile`` where the run asks for it."""
        return torch.compile(function) if self.compile else function


class StageModule(Protocol):
    """A LightningModule that hands over what it learned.

    Its class may have ``check(key, settings, round, clip)``, which raises ConfigurationError for settings
    that can't work. It is called for every place in the plan before the first stage.
    """

    def handover(self) -> Weights:
        """The tensors this stage adds or replaces, by name. Called once, after training."""
        ...

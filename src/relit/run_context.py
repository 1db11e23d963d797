"""What is called after a run's last stage gets this."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import nn

from relit.loggers import RunLogger
from relit.weights import Weights


@dataclass(frozen=True)
class RunContext:
    """What each callable of ``finish`` gets after the last stage, on every rank.

    What is not shared out over the ranks, such as writing files, is for rank 0 alone. The metrics that rank 0
    returns are the run's.

    Attributes:
        cfg: the resolved configuration as plain containers.
        run_dir: the run's directory.
        weights: everything the stages handed over, on the CPU.
        datamodule: the last stage's data module; ``setup`` may not have been called in this process.
        clip: the frozen CLIPs by role; empty where the configuration has none.
        network: builds a new network from the ``network`` node.
        device: where the stages trained.
        steps: optimisation steps of all stages.
        logger: for figures; None where ``logger=none``. Returned metrics are logged by the runner.
        rank, world_size: which process this is, and of how many.
        trained: whether this sitting trained or took up the run; with ``train=false`` weights are only
            evaluated.
    """

    cfg: dict[str, Any]
    run_dir: Path
    weights: Weights
    datamodule: LightningDataModule
    clip: Mapping[str, Any]
    network: Callable[[], nn.Module]
    device: torch.device
    steps: int
    logger: RunLogger | None
    rank: int = 0
    world_size: int = 1
    trained: bool = True

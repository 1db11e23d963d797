"""What tests of data modules ask them for, and who they ask a trainer's place for."""

from __future__ import annotations

from itertools import islice
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from relit.data.datamodule import PhotoData


def batches(module: PhotoData, count: int) -> list[dict[str, Tensor]]:
    """The first training batches, as a stage gets them."""
    return [module.on_after_batch_transfer(batch, 0) for batch in islice(module.train_dataloader(), count)]


def standing_at(step: int, rank: int = 0, world_size: int = 1, accumulate: int = 1) -> Any:
    """What a data module asks a trainer for; all its ranks see what this one sees."""
    strategy = SimpleNamespace(
        root_device=torch.device("cpu"),
        broadcast=lambda value: value,
        reduce_boolean_decision=lambda decision: decision,
    )
    return SimpleNamespace(
        global_step=step,
        global_rank=rank,
        world_size=world_size,
        accumulate_grad_batches=accumulate,
        strategy=strategy,
    )


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Every value of two batches is the same."""
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]) if isinstance(value, Tensor) else value == other[key]

"""The same steps on a GPU: what half precision and ``torch.compile`` give over eager float32.

A step of each kind of stage at the sizes of the papers: in float32 as the stages are configured by default,
with ``trainer.precision=bf16-mixed``, and for CLIP-LIT's with ``compile=true`` on top. There, the
straightforward step in float32 is what the ratios refer to.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks import correction_step
from benchmarks.enhancement_step import (
    BATCH_SIZE,
    LEARNING_RATE,
    enhancement_stage,
    random_batch,
    stage_loss,
    straightforward_loss,
    straightforward_network,
)
from benchmarks.stand_ins import random_clip
from benchmarks.tables import Table, speedups
from benchmarks.timing import adam_step, interleaved
from relit.clip_restorex.restormer_stages import ReferencePriors, RestoredPriors

SIZE = 512
"""Side of what the enhancement stage trains on."""
PAIRS = 4
"""Pairs of crops in a batch of the correction stages."""

Step = Callable[[], None]


def run(repetitions: int = 10, device: str = "cuda") -> list[Table]:
    """Seconds of one step, and the memory it takes."""
    return [
        _enhancement(torch.device(device), repetitions),
        *(_correction(kind, torch.device(device), repetitions) for kind in (ReferencePriors, RestoredPriors)),
    ]


def timed_step(module: nn.Module, loss: Callable[[], Tensor], device: torch.device, precision: str) -> Step:
    """A training step that ends when the device has done it; ``precision`` is ``32`` or ``bf16``."""

    def cast_loss() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            return loss()

    step = adam_step(module, cast_loss, LEARNING_RATE)

    def until_done() -> None:
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return until_done


def peak_mib(step: Step, device: torch.device) -> float | None:
    """The most memory of the device that ``step`` has in use; None where that is not told."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return torch.cuda.max_memory_allocated(device) / 2**20


def _enhancement(device: torch.device, repetitions: int) -> Table:
    batch = {name: tensor.to(device) for name, tensor in random_batch(BATCH_SIZE, SIZE).items()}
    prompts, identity = (random_clip(f"{model}-quickgelu") for model in ("ViT-B-32", "RN101"))
    stage, compiled = (enhancement_stage(prompts, identity, compile=way).to(device) for way in (False, True))
    plain = straightforward_network(stage).to(device)
    loss = partial(stage_loss, stage, batch)
    steps = {
        "straightforward": timed_step(
            plain, partial(straightforward_loss, stage, plain, batch), device, "32"
        ),
        "float32": timed_step(stage.network, loss, device, "32"),
        "bf16": timed_step(stage.network, loss, device, "bf16"),
        "bf16, compiled": timed_step(compiled.network, partial(stage_loss, compiled, batch), device, "bf16"),
    }
    seconds = interleaved(steps, repetitions)
    rows = [
        (name, seconds["straightforward"], seconds[name], "4 or more" if "compiled" in name else "")
        for name in list(steps)[1:]
    ]
    return speedups(f"Enhancement at {SIZE} pixels, batch {BATCH_SIZE}, ViT-B/32 and RN101", rows)


def _correction(
    kind: type[ReferencePriors | RestoredPriors], device: torch.device, repetitions: int
) -> Table:
    side = correction_step.CROP
    batch = {name: tensor.to(device) for name, tensor in correction_step.random_pairs(PAIRS, side).items()}
    trained = correction_step.stage(kind, random_clip(correction_step.CLIP)).to(device)
    loss = partial(correction_step.stage_loss, trained, batch)
    steps = {name: timed_step(trained, loss, device, name) for name in ("32", "bf16")}
    seconds = interleaved(steps, repetitions)
    rows = {
        name: (seconds[name], PAIRS / seconds[name], peak_mib(step, device)) for name, step in steps.items()
    }
    columns = ("step, s", "pairs a second", "memory, MiB")
    return Table(f"{kind.__name__} at {side} pixels, batch {PAIRS}", columns, rows)

"""Times that can be compared on a machine that is busy with other things, too."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn


def interleaved(tasks: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Median seconds of each task. They take turns, so what slows the machine for a while slows all of them.

    Each task runs once before it is measured.
    """
    for task in tasks.values():
        task()
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repetitions):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in seconds.items()}


def adam_step(module: nn.Module, loss: Callable[[], Tensor], lr: float) -> Callable[[], None]:
    """A training step of ``module`` on ``loss``, to be called again and again."""
    optimizer = torch.optim.Adam(module.parameters(), lr=lr)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def machine() -> dict[str, str | int]:
    """What the times were measured on."""
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    """The processor's name on Linux, elsewhere its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

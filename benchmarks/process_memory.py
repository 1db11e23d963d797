"""How much memory a process uses, where Linux tells."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any


def peak_of(task: Callable[..., Any], *arguments: Any) -> float:
    """The most resident memory, in MiB, of a new process that runs ``task`` and nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_peak, task, *arguments).result()


def available() -> float | None:
    """MiB that a new process can have; None where the system does not tell."""
    table = Path("/proc/meminfo")
    return _mebibytes(table, "MemAvailable") if table.is_file() else None


def _peak(task: Callable[..., Any], *arguments: Any) -> float:
    task(*arguments)
    # not getrusage, which begins at what the process used that started this one
    return _mebibytes(Path("/proc/self/status"), "VmHWM")


def _mebibytes(table: Path, key: str) -> float:
    line = next(line for line in table.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) / 1024

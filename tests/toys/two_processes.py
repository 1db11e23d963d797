"""The same run by two CPU processes, and by one with the doubled batch."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from warm_start import Finished, start

from relit.weights import read_weights

ROOT = Path(__file__).resolve().parents[2]


def train_in_two_processes(folder: Path, *overrides: str) -> None:
    """``train.py`` as two CPU processes, in the run directory ``two``."""
    # the other process is started as this one was, so no fork of a warm one will do; both die together
    two = subprocess.Popen(
        [
            sys.executable, str(ROOT / "train.py"), *overrides, "name=two",
            "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp",
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = two.communicate(timeout=200)
    finally:
        # whoever waits for a process that is gone goes, too
        with contextlib.suppress(ProcessLookupError):
            os.killpg(two.pid, signal.SIGKILL)
    assert two.returncode == 0, said


def train_as_two_ranks(folder: Path, *overrides: str) -> list[Finished]:
    """``train.py`` by two processes, started as torchrun would, but warm; how each of them ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    ranks = [start(overrides, folder, {**group, "LOCAL_RANK": rank}) for rank in ("0", "1")]
    return [rank.wait(200) for rank in ranks]


def train_doubled(folder: Path, overrides: Sequence[str]) -> None:
    """One process with batches of 4 where ``overrides`` have 2, in the run directory ``one``."""
    doubled = [override.replace("data.batch_size=2", "data.batch_size=4") for override in overrides]
    one = start([*doubled, "name=one"], folder, None).wait()
    assert one.status == 0, one.said


def all_weights(run_dir: Path) -> dict[str, torch.Tensor]:
    """Every tensor of every weight file in a run directory, by file, group and name."""
    found = {}
    for path in sorted(run_dir.rglob("weights.safetensors")):
        for group, tensors in read_weights(path)[0].items():
            for name, tensor in tensors.items():
                found[f"{path.relative_to(run_dir)}: {group}/{name}"] = tensor
    return found

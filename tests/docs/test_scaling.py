"""What docs/SCALING.md starts otherwise than by ``python train.py``: by SLURM, torchrun and W&B."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from markdown_page import ROOT, MarkdownPage
from shown_commands import shown_commands
from toy_regression import toy_config
from two_processes import all_weights
from warm_start import start

from relit.stages import run_stages

PAGE = "docs/SCALING.md"
TOYS = ROOT / "tests/toys"
TOY = [f"--config-dir={TOYS / 'conf'}", "experiment=toy", "rounds=1"]


def starting(*words: str) -> list[str]:
    """The words of the page's one command that begins with ``words``."""
    commands = [shlex.split(command) for command in shown_commands(PAGE)]
    (found,) = [command for command in commands if command[: len(words)] == [*words]]
    return found


def environment(folder: Path) -> dict[str, str]:
    """Commands of this environment and the toys' code, and nothing of an account of W&B."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    code = os.pathsep.join([str(ROOT / "src"), str(TOYS)])
    return {**own, "PATH": path, "PYTHONPATH": code, "HOME": str(folder), "NETRC": str(folder / "none")}


def run(words: list[str], folder: Path) -> str:
    """What a command says that ends well in ``folder``."""
    result = subprocess.run(
        words,
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_the_script_asks_slurm_for_what_the_trainer_uses() -> None:
    (script,) = [block.text for block in MarkdownPage(PAGE).blocks if block.text.startswith("#!/bin/bash")]
    asked = dict(re.findall(r"--([\w-]+)=(\S+)", "".join(re.findall(r"^#SBATCH (.*)", script, re.MULTILINE))))
    trainer = dict(re.findall(r"trainer\.(\w+)=(\d+)", script))
    assert asked["nodes"] == trainer["num_nodes"]
    assert asked["ntasks-per-node"] == asked["gpus-per-node"] == trainer["devices"]


@pytest.mark.slow
def test_torchrun_with_two_processes_learns_what_one_learns_from_the_doubled_batch(tmp_path: Path) -> None:
    """The page's command on this machine alone: a node with two processes of a toy, on CPUs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = {
        "--nnodes": "1", "--nproc-per-node": "2", "--master-addr": "127.0.0.1", "--master-port": str(port),
        "trainer.devices": "2", "trainer.num_nodes": "1",
    }  # fmt: skip
    words = [
        f"{key}={here[key]}" if (key := word.partition("=")[0]) in here else word
        for word in starting("torchrun")
        if not word.startswith("experiment=")
    ]
    script = words.index("train.py")
    words[script : script + 1] = [str(ROOT / "train.py"), *TOY, "trainer.accelerator=cpu", "logger=none"]
    run(words, tmp_path)

    one = tmp_path / "runs/one"
    run_stages(toy_config(one, rounds=1, logger=None, data__batch_size=8))
    expected, found = all_weights(one), all_weights(tmp_path / "runs/toy")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
def test_wandb_would_send_every_offline_segment(tmp_path: Path) -> None:
    """As far as it goes without a server: a run that was stopped and went on has two segments."""
    offline = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "none"), "WANDB_MODE": "offline"}
    stopped = start([*TOY, "logger=wandb"], tmp_path, {**offline, "TOY_DIES_AT": "7"}).wait()
    assert stopped.status != 0
    finished = start([*TOY, "logger=wandb"], tmp_path, offline).wait()
    assert finished.status == 0, finished.said
    segments = list(tmp_path.glob("runs/toy/wandb/offline-run-*/*.wandb"))
    assert len(segments) == 2
    said = run(["bash", "-c", " ".join(starting("wandb", "sync", "--dry-run"))], tmp_path)
    assert "Would sync 2 run(s)" in said
    assert all(str(path.relative_to(tmp_path)) in said for path in segments)

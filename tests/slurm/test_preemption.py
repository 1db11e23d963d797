"""A run of two tasks on a real cluster of one node, which SLURM takes off its node three times.

``make test-slurm`` installs what is missing and runs this alone.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from slurm_cluster import Cluster, missing_programs, one_node_cluster
from two_processes import all_weights, train_as_two_ranks
from wandb_records import finished_segment

ROOT = Path(__file__).resolve().parents[2]
TOYS = ROOT / "tests" / "toys"
STEPS = 30
TOY = (
    f"--config-dir={TOYS / 'conf'}", "experiment=toy", "rounds=1", f"stage.first.steps={STEPS}",
    "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2",
)  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    if missing := missing_programs():
        pytest.skip(
            f"needs {', '.join(missing)} of slurm-wlm and munge; as root, make test-slurm installs them"
        )
    with one_node_cluster() as running:
        yield running


@dataclass
class Submitted:
    """A run on the cluster, and the command that submitted it and waits for its end.

    Attributes:
        cluster: where it is.
        command: the waiting process.
        folder: where it was called.
        run_dir: of the run.
        number: of the job.
    """

    cluster: Cluster
    command: subprocess.Popen[bytes]
    folder: Path
    run_dir: Path
    number: str = ""

    def steps(self, rank: int = 0) -> list[tuple[int, int]]:
        """Stage and step of every batch that a task was trained on."""
        file = self.run_dir / f"seen-{rank}.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(seen["stage"], seen["step"]) for seen in map(json.loads, lines)]

    def sittings(self) -> int:
        return int(self.cluster.job(self.number)["Restarts"]) + 1

    def take_away(self, step: int, *command: str) -> None:
        """Call ``command`` after ``step`` steps, and wait until SLURM has queued the job again."""
        self.wait_for(lambda: len(self.steps()) >= step)
        sitting = self.sittings()
        self.cluster.ask(*command)
        self.wait_for(lambda: self.sittings() == sitting + 1)

    def wait_for(self, condition: Callable[[], bool], seconds: float = 600) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if self.command.poll() is not None or time.monotonic() > end:
                pytest.fail(f"this never came about\n{self.said()}\n{self.cluster.logs()}")
            time.sleep(0.1)

    def said(self) -> str:
        """What the command and the tasks have printed."""
        files = [self.folder / "said.txt", *sorted(self.folder.glob("runs/.submitit/*/*.out"))]
        return "\n".join(f"{file.name}:\n{file.read_text(errors='replace')}" for file in files)

    def assert_every_step_was_trained_once(self) -> None:
        for rank in (0, 1):
            assert self.steps(rank) == [(stage, step) for stage in (1, 2) for step in range(STEPS)]


@pytest.fixture
def submit(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[..., Submitted]]:
    """``submit(run_dir, *command)``: call a command that submits a job, in an empty folder."""
    paths = os.pathsep.join([str(ROOT / "src"), str(TOYS)])
    settings = {"PYTHONPATH": paths, "TOY_PAUSE": "0.5", "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    commands: list[subprocess.Popen[bytes]] = []

    def start(run_dir: str, *command: str) -> Submitted:
        with (tmp_path / "said.txt").open("wb") as said:
            process = subprocess.Popen(
                command,
                cwd=tmp_path,
                env={**os.environ, **cluster.environment, **settings},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        commands.append(process)
        run = Submitted(cluster, process, tmp_path, tmp_path / run_dir)
        run.wait_for(lambda: bool(cluster.ask("squeue", "--noheader")))
        run.number = cluster.ask("squeue", "--noheader", "--format=%i").strip()
        return run

    yield start
    cluster.clear()
    for process in commands:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of a run by two processes that nothing befalls."""
    folder = tmp_path_factory.mktemp("whole")
    assert [rank.status for rank in train_as_two_ranks(folder, *TOY)] == [0, 0]
    return all_weights(folder / "runs" / "toy")


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, msg=lambda m, n=name: f"{n}: {m}")


def test_a_run_that_is_preempted_thrice_ends_as_one_that_is_not(
    submit: Callable[..., Submitted], whole: dict[str, torch.Tensor]
) -> None:
    train = [sys.executable, str(ROOT / "train.py"), *TOY, "logger=wandb"]
    slurm = ["cluster=slurm", "hydra.launcher.partition=graceful", "hydra.launcher.timeout_min=60"]
    run = submit("runs/toy/0", *train, *slurm)
    # a job that goes first: SIGTERM, and time to make way
    urgent = ("--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    run.take_away(4, "sbatch", *urgent)
    # by hand, and where a partition grants no time: SIGTERM to a job that is in the queue again already
    run.take_away(22, "scontrol", "requeue", run.number)
    # what the profile lets SLURM send before the job's time is up
    run.take_away(40, "scancel", "--signal=USR2", run.number)
    assert run.command.wait(600) == 0, run.said()
    assert run.sittings() == 4
    assert run.said().count("the run ends after step") == 3, run.said()
    run.assert_every_step_was_trained_once()
    assert_close(all_weights(run.run_dir), whole)

    # one W&B run has all of it
    run_id = json.loads((run.run_dir / "state.json").read_text())["run_id"]
    segments = [finished_segment(folder) for folder in sorted(run.run_dir.glob("wandb/offline-run-*"))]
    assert [segment.run.run_id for segment in segments] == [run_id] * 4
    assert [segment.preempting for segment in segments] == [True, True, True, False]
    rows = [row for segment in segments for row in segment.history if "toy/loss" in row]
    assert [row["trainer/global_step"] for row in rows] == list(range(9, 2 * STEPS, 10))


def test_without_submitit_the_run_has_its_job_queued_again(
    submit: Callable[..., Submitted], whole: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    train = shlex.join([sys.executable, str(ROOT / "train.py"), *TOY, "logger=none"])
    script = tmp_path / "job.sh"
    script.write_text(f"#!/bin/bash\nsrun {train}\n")
    options = ["--ntasks-per-node=2", "--requeue", "--signal=USR1@120"]
    run = submit(
        "runs/toy", "sbatch", "--wait", *options, "--open-mode=append", "--output=said.txt", str(script)
    )
    run.take_away(15, "scancel", "--signal=USR1", run.number)
    assert run.command.wait(600) == 0, run.said()
    assert run.sittings() == 2
    run.assert_every_step_was_trained_once()
    assert_close(all_weights(run.run_dir), whole)

"""What befalls long runs, injected: each stops with a message, and the same command ends with the same bits.

Full disks and kills are in test_train_entry.py, torn checkpoints in test_checkpoints.py, signals in
test_stop_signals.py, two commands in one directory in test_run_lock.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_regression import toy_config
from two_processes import all_weights, train_as_two_ranks
from warm_start import ROOT, Finished, start

from relit.errors import ProcessLost, TrainingFailed
from relit.lost_process import what_was_lost
from relit.stages import run_stages

TOYS = ROOT / "tests" / "toys"
MODULE = "stage.first.module"
TWO = (
    f"--config-dir={TOYS / 'conf'}", "experiment=toy", "rounds=1", "logger=none",
    "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2",
)  # fmt: skip


def assert_equal(left: Path, right: Path) -> None:
    whole, found = all_weights(left), all_weights(right)
    assert whole.keys() == found.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, found[name]), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing befalls."""
    run_dir = tmp_path_factory.mktemp("faults") / "whole"
    run_stages(toy_config(run_dir, rounds=1, logger=None))
    return run_dir


def befallen(run_dir: Path, fault: str, **changes: Any) -> Any:
    """A run of which the second stage is struck by ``fault`` after eight steps, once."""
    module = {"stage__second__module__interrupt": fault, "stage__second__module__interrupt_at": 8}
    return toy_config(run_dir, rounds=1, logger=None, **module, **changes)


def test_a_loss_that_is_no_number_leaves_the_good_checkpoint(tmp_path: Path, whole: Path) -> None:
    cfg = befallen(tmp_path / "run", "NaN")
    with pytest.raises(TrainingFailed, match=r"the loss of step 8 is nan[\s\S]*last\.ckpt \(step 5\)"):
        run_stages(cfg)
    run_stages(cfg)
    assert_equal(whole, tmp_path / "run")


def test_a_dead_data_worker_is_named_with_the_remedy(tmp_path: Path, whole: Path) -> None:
    cfg = befallen(tmp_path / "run", "dead worker", data__num_workers=1)
    with pytest.raises(ProcessLost, match=r"reads photographs \(pid \d+\).*data.num_workers=0"):
        run_stages(cfg)
    cfg.data.num_workers = 0
    run_stages(cfg)
    assert_equal(whole, tmp_path / "run")


def test_other_errors_are_no_lost_processes() -> None:
    for text in ("CUDA out of memory. Tried to allocate 2 GiB", "mat1 and mat2 shapes cannot be multiplied"):
        assert what_was_lost(RuntimeError(text)) is None
    lost = what_was_lost(torch.distributed.DistBackendError("NCCL communicator was aborted on rank 3."))
    assert lost is not None
    assert "NCCL communicator was aborted" in lost


def two_ranks(cwd: Path, *overrides: str) -> list[Finished]:
    """The two processes of one run on CPUs."""
    return train_as_two_ranks(cwd, *TWO, *overrides)


@pytest.fixture(scope="module")
def whole_by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run by two processes that nothing befalls."""
    cwd = tmp_path_factory.mktemp("two")
    assert [rank.status for rank in two_ranks(cwd)] == [0, 0]
    return cwd / "runs" / "toy"


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_when_a_rank_is_killed_the_other_says_so_and_ends(
    tmp_path: Path, whole_by_two: Path, killed: int
) -> None:
    fault = (f"{MODULE}.interrupt=SIGKILL", f"{MODULE}.interrupt_at=8", f"+{MODULE}.interrupt_rank={killed}")
    ranks = two_ranks(tmp_path, *fault)
    other = ranks.pop(1 - killed)
    assert ranks[0].status == -signal.SIGKILL
    assert other.status == 1, other.said
    assert "Traceback" not in other.said
    assert f"Rank {1 - killed} has lost another process of the run" in other.said
    assert "same command" in other.said
    again = two_ranks(tmp_path, *fault)
    assert [rank.status for rank in again] == [0, 0], again
    assert_equal(whole_by_two, tmp_path / "runs" / "toy")


@pytest.mark.slow
@pytest.mark.parametrize("signalled", [0, 1])
def test_a_signal_to_one_rank_ends_all_of_them_after_the_same_step(
    tmp_path: Path, whole_by_two: Path, signalled: int
) -> None:
    fault = (
        f"{MODULE}.interrupt=SIGTERM",
        f"{MODULE}.interrupt_at=8",
        f"+{MODULE}.interrupt_rank={signalled}",
    )
    ranks = two_ranks(tmp_path, *fault)
    assert [rank.status for rank in ranks] == [143, 0], ranks
    assert "SIGTERM: the run ends after step 9 of the stage" in ranks[0].said
    checkpoint = tmp_path / "runs" / "toy" / "stages" / "2-second" / "checkpoints" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 9
    again = two_ranks(tmp_path, *fault)
    assert [rank.status for rank in again] == [0, 0], again
    assert_equal(whole_by_two, tmp_path / "runs" / "toy")


@pytest.mark.slow
@pytest.mark.parametrize(("signalled", "stage", "kept"), [(0, 1, "1-first"), (1, 2, "2-second")])
def test_a_signal_to_a_rank_that_does_not_train_yet_ends_none_alone(
    tmp_path: Path, whole_by_two: Path, signalled: int, stage: int, kept: str
) -> None:
    """It comes while the module is built, when the other rank may train already."""
    fault = (
        *(f"{MODULE}.interrupt=SIGTERM", f"{MODULE}.interrupt_at=0"),
        *(f"+{MODULE}.interrupt_rank={signalled}", f"+{MODULE}.interrupt_stage={stage}"),
    )
    ranks = two_ranks(tmp_path, *fault)
    assert [rank.status for rank in ranks] == [143, 0], ranks
    assert "SIGTERM: the run ends after step 1 of the stage" in ranks[0].said
    checkpoint = tmp_path / "runs" / "toy" / "stages" / kept / "checkpoints" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 1
    again = two_ranks(tmp_path, *fault)
    assert [rank.status for rank in again] == [0, 0], again
    assert_equal(whole_by_two, tmp_path / "runs" / "toy")


def _in_place_of_the_lock(run_dir: Path) -> str:
    (run_dir / "run.lock").mkdir(parents=True)
    return "IsADirectoryError"


def _in_place_of_checkpoints(run_dir: Path) -> str:
    stage = run_dir / "stages" / "1-first"
    stage.mkdir(parents=True)
    (stage / "checkpoints").touch()
    return "FileExistsError"


@pytest.mark.slow
@pytest.mark.parametrize("put", [_in_place_of_the_lock, _in_place_of_checkpoints])
def test_what_rank_0_alone_fails_at_ends_all_ranks_and_rank_0_tells(
    tmp_path: Path, put: Callable[[Path], str]
) -> None:
    error = put(tmp_path / "runs" / "toy")
    ranks = two_ranks(tmp_path)
    # 0: Lightning's own processes leave the status to rank 0
    assert [rank.status for rank in ranks] == [1, 0], ranks
    assert error in ranks[0].said
    assert "runs/toy/" in ranks[0].said
    # it was told, and has not just found its connection closed
    assert "lost another process" not in ranks[1].said
    assert "Traceback" not in ranks[1].said


def started_by_lightning(cwd: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """``train.py`` as people call it: rank 0 starts the other one. Comes back when both have ended."""
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *TWO, *overrides],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(TOYS)])},
        stdin=subprocess.DEVNULL,
        # both processes hold these pipes, and they are read to their end
        capture_output=True,
        text=True,
        timeout=400,
    )


@pytest.mark.slow
def test_a_signal_to_rank_0_reaches_the_process_that_it_started(tmp_path: Path) -> None:
    """Lightning's way: rank 0 starts the other one, and is killed if that ends with a status of its own."""
    found = started_by_lightning(tmp_path, f"{MODULE}.interrupt=SIGTERM", f"{MODULE}.interrupt_at=8")
    assert found.returncode == 143, found.stdout + found.stderr
    assert found.stdout.count("SIGTERM: the run ends after step 9 of the stage") == 1
    for rank in (0, 1):
        steps = (tmp_path / "runs" / "toy" / f"seen-{rank}.jsonl").read_text().splitlines()
        assert len(steps) == 12 + 9


@pytest.mark.slow
def test_two_processes_that_fail_end_with_one_message(tmp_path: Path) -> None:
    """A loss that is no number on the rank that does not tell of it; then settings that are refused."""
    cpus = ("trainer=cpu", "trainer.devices=2", "trainer.strategy=ddp")
    fault = (f"{MODULE}.interrupt='NaN'", f"{MODULE}.interrupt_at=8", f"+{MODULE}.interrupt_rank=1")
    astray = started_by_lightning(tmp_path, *cpus, *fault)
    refused = started_by_lightning(tmp_path, *cpus, *fault, "stage.first.steps=13")
    for found, status, message in (
        (astray, 1, "training failed\nStage second: the loss of step 8 is nan"),
        (refused, 2, f"configuration error\n{tmp_path / 'runs' / 'toy'} holds a run with other settings"),
    ):
        said = found.stdout + found.stderr
        assert found.returncode == status, said
        assert said.count("train.py: ") == said.count(message) == 1, said
        assert "Traceback" not in said
    assert "stage.first.steps: 12 in the run, 13 now" in refused.stderr


@pytest.mark.slow
def test_submitit_queues_a_preempted_run_again_and_it_ends(tmp_path: Path, whole: Path) -> None:
    """With submitit's local executor, which starts a preempted task again as SLURM would."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    paths = os.pathsep.join([str(ROOT / "src"), str(TOYS), os.environ.get("PYTHONPATH", "")])
    fault = (f"{MODULE}.interrupt=SIGUSR2", f"{MODULE}.interrupt_at=8")
    cluster = ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5")
    command = ["-m", f"--config-dir={TOYS / 'conf'}", "experiment=toy", "rounds=1", "logger=none", *fault]
    found = start([*command, *cluster], tmp_path, {"PYTHONPATH": paths}).wait()
    assert found.status == 0, found.said
    run_dir = tmp_path / "runs" / "toy" / "0"
    assert_equal(whole, run_dir)
    said = "".join(path.read_text() for path in (tmp_path / "runs" / ".submitit").rglob("*_log.out"))
    assert "SIGUSR2: the run ends after step 9 of the stage" in said
    # each step was trained once
    assert len((run_dir / "seen-0.jsonl").read_text().splitlines()) == 24

"""A signal that ends a run: what is kept, who queues the job again, and that Lightning does not, too."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from slurm_task import slurm_task
from toy_regression import toy_config
from watched_line import WatchedLine, WatchedPoints, fit

from relit.run_state import read_state
from relit.stages import run_stages
from relit.stop_signals import SIGNALS, StopAfterStep, Stopped, StopSignals
from relit.weights import Weights, read_weights

# what `scontrol show job` prints, in part
PREEMPTED = (
    "JobId=7 JobName=relit\n   JobState={state} Reason=None\n   PreemptEligibleTime=now PreemptTime={time}\n"
)
OPTIONS: dict[str, Any] = {"rounds": 1, "logger": None}


@pytest.fixture(autouse=True)
def _handlers_are_restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of a task that srun started; the file holds what ``scontrol`` was called with."""
    calls = tmp_path / "scontrol.txt"
    (tmp_path / "job.txt").write_text(PREEMPTED.format(state="COMPLETING", time="None"))
    slurm_task(tmp_path, monkeypatch, f'[ $1 = show ] && cat {tmp_path}/job.txt || echo "$@" >> {calls}')
    return calls


def final_weights(run_dir: Path) -> Weights:
    return read_weights(run_dir / "stages" / "2-second" / "weights.safetensors")[0]


def struck(run_dir: Path, number: str, at: int = 8, **changes: Any) -> Any:
    """A run that gets a signal in its second stage, once."""
    module = {"stage__second__module__interrupt": number, "stage__second__module__interrupt_at": at}
    return toy_config(run_dir, **OPTIONS, **module, **changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """What is learned when nothing comes in between."""
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    run_stages(toy_config(run_dir, **OPTIONS))
    return final_weights(run_dir)


def assert_equal(left: Weights, right: Weights) -> None:
    assert torch.equal(left["line"]["weight"], right["line"]["weight"])
    assert torch.equal(left["line"]["bias"], right["line"]["bias"])


# --- SLURM ---


def test_after_sigusr1_slurm_queues_the_job_again_once_and_our_checkpoint_counts(
    tmp_path: Path, slurm: Path, whole: Weights
) -> None:
    run_dir = tmp_path / "run"
    cfg = struck(run_dir, "SIGUSR1")
    with pytest.raises(Stopped, match="step 9 of the stage") as stopped:
        run_stages(cfg)
    assert stopped.value.code == 128 + signal.SIGUSR1
    assert slurm.read_text() == "requeue 7\n"
    stage = run_dir / "stages" / "2-second"
    # Lightning's own requeueing would have left hpc_ckpt_1.ckpt here, and called scontrol, too
    assert sorted(path.name for path in stage.rglob("*.ckpt")) == ["last.ckpt", "previous.ckpt"]
    # nor does it take up such a file
    (stage / "hpc_ckpt_1.ckpt").write_bytes(b"no checkpoint")
    run_stages(cfg)
    assert_equal(final_weights(run_dir), whole)


def test_after_sigterm_it_does_not(tmp_path: Path, slurm: Path) -> None:
    # it ends jobs that are cancelled, and those that SLURM has queued again itself
    with pytest.raises(Stopped) as stopped:
        run_stages(struck(tmp_path / "run", "SIGTERM"))
    assert stopped.value.code == 143
    assert not slurm.exists()


@pytest.mark.parametrize(
    ("state", "time", "queued"),
    [("RUNNING", "2026-01-02T03:04:05", True), ("COMPLETING", "...", False), ("RUNNING", "None", False)],
)
def test_unless_by_sigterm_a_period_of_grace_begins(slurm: Path, state: str, time: str, queued: bool) -> None:
    """At its end SLURM queues again what is still there, and the run will not be."""
    (slurm.parent / "job.txt").write_text(PREEMPTED.format(state=state, time=time))
    with StopSignals() as signals:
        signals.hand_on(signal.SIGTERM)
    assert slurm.exists() == queued


def test_a_job_of_an_array_is_queued_again_alone(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    with StopSignals() as signals:
        signals.hand_on(signal.SIGUSR2)
    assert slurm.read_text() == "requeue 5_2\n"


def test_what_slurm_refuses_is_told_with_the_remedy(slurm: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = slurm.parent / "bin" / "scontrol"
    program.write_text("#!/bin/sh\necho 'Requested operation is presently disabled' >&2\nexit 1\n")
    with StopSignals() as signals:
        signals.hand_on(signal.SIGUSR1)
    assert "job 7 again (Requested operation is presently disabled). Submit it again" in caplog.text


def test_submitit_is_the_only_one_to_queue_again_what_it_started(slurm: Path) -> None:
    """Its handler, which exits after it has queued the job again, stands when the run begins."""
    seen = []

    def requeue(number: int, frame: object) -> None:
        seen.append(number)
        raise SystemExit(-1)

    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        with StopSignals() as signals, pytest.raises(SystemExit) as ended:
            signals.hand_on(signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert ended.value.code == -1
    assert seen == [signal.SIGUSR2]
    assert not slurm.exists()


# --- when it comes ---


def test_in_the_last_step_of_a_stage_the_stage_is_recorded(tmp_path: Path, whole: Weights) -> None:
    cfg = struck(tmp_path / "run", "SIGTERM", at=12)
    with pytest.raises(Stopped, match="ends after stage second"):
        run_stages(cfg)
    assert [stage.name for stage in read_state(tmp_path / "run").finished] == ["first", "second"]
    assert_equal(final_weights(tmp_path / "run"), whole)


def kill_once(context: Any) -> dict[str, float]:
    """A ``finish`` that is interrupted the first time."""
    marker = context.run_dir / "killed"
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal is to end the evaluation here")
    return {"toy/done": 1.0}


def test_outside_training_the_run_ends_at_once_and_keeps_its_stages(tmp_path: Path) -> None:
    cfg = toy_config(tmp_path / "run", **OPTIONS, finish=[{"_target_": f"{__name__}.kill_once"}])
    with pytest.raises(Stopped, match="SIGTERM"):
        run_stages(cfg)
    assert len(read_state(tmp_path / "run").finished) == 2
    trained = (tmp_path / "run" / "seen-0.jsonl").read_text()
    assert run_stages(cfg) == {"toy/done": 1.0}
    assert (tmp_path / "run" / "seen-0.jsonl").read_text() == trained


def test_in_a_validation_it_waits_for_the_checkpoint_that_follows(tmp_path: Path) -> None:
    class Killed(WatchedLine):
        def validation_step(self, batch: Any) -> None:
            super().validation_step(batch)
            if self.global_step == 8:
                os.kill(os.getpid(), signal.SIGTERM)

    module = Killed()
    with StopSignals() as signals:
        options = {"folder": tmp_path, "checkpoint_every": 100, "validate_every": 4, "signals": signals}
        with pytest.raises(Stopped, match="step 8"):
            fit(module, [StopAfterStep(signals)], steps=20, **options)
    assert list(module.validated) == [4, 8]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 8


def test_only_the_first_signal_counts_and_is_forwarded(tmp_path: Path) -> None:
    forwarded: list[int] = []
    with StopSignals() as signals:
        signals.forward = forwarded.append
        signals.deferred = True
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
        signals.deferred = False
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGUSR1
    assert forwarded == [signal.SIGUSR1]


def test_a_signal_that_came_after_the_last_stage_is_not_forgotten() -> None:
    with StopSignals() as signals:
        signals.deferred = True
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(Stopped) as stopped:
            signals.end_at_once()
    assert stopped.value.number == signal.SIGUSR1
    with StopSignals() as signals:
        signals.deferred = True
        signals.end_at_once()
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)


class Handlers(Callback):
    """Notes who has the signals while a stage trains."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.found += [signal.getsignal(number) for number in SIGNALS]


def test_lightnings_handlers_do_not_stand_while_a_stage_reads_and_trains(
    tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = Handlers()
    read = WatchedPoints.train_dataloader

    def noting(self: WatchedPoints) -> Any:
        noted.found += [signal.getsignal(number) for number in SIGNALS]
        return read(self)

    monkeypatch.setattr(WatchedPoints, "train_dataloader", noting)
    with StopSignals() as signals:
        fit(WatchedLine(), [StopAfterStep(signals), noted], steps=3)
        assert noted.found == [signals._note] * 4 * len(SIGNALS)

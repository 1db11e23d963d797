"""How the processes of a run end after an error, and which errors are another process's end."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from torch.distributed import DistBackendError

from relit.errors import ConfigurationError, ProcessLost, RankZeroFailed, TrainingFailed
from relit.lost_process import what_was_lost
from relit.processes import fail_together, from_rank_0, join_processes
from relit.stop_signals import Stopped, StopSignals


@contextlib.contextmanager
def that_started_one() -> Iterator[tuple[Strategy, subprocess.Popen[bytes]]]:
    """A strategy whose launcher has started a process, which sleeps."""
    environment = LightningEnvironment()
    launcher = _SubprocessScriptLauncher(environment, num_processes=2, num_nodes=1)
    with subprocess.Popen(["sleep", "60"]) as started:
        launcher.procs = [started]
        try:
            strategy = SimpleNamespace(cluster_environment=environment, launcher=launcher)
            yield cast("Strategy", strategy), started
        finally:
            started.kill()


@pytest.mark.skipif(torch.cuda.device_count() > 99, reason="this machine has as many GPUs as are asked for")
def test_gpus_that_are_not_there_are_told_with_the_remedy() -> None:
    expected = r"trainer.devices=100, .* sees \d+ GPU.*CUDA_VISIBLE_DEVICES"
    with pytest.raises(ConfigurationError, match=expected):
        join_processes({"accelerator": "gpu", "devices": 100}, StopSignals())


@pytest.mark.parametrize("error", [ConfigurationError("a wrong key"), TrainingFailed("no number")])
def test_what_is_so_for_all_processes_is_told_by_rank_0(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    with that_started_one() as (strategy, started):
        monkeypatch.setenv("LOCAL_RANK", "0")
        fail_together(error, strategy)
        monkeypatch.setenv("LOCAL_RANK", "1")
        with pytest.raises(SystemExit) as left:
            fail_together(error, strategy)
        assert left.value.code == 0
        assert started.poll() is None


@pytest.mark.parametrize("error", [OSError("no such device"), ProcessLost("another one is gone")])
def test_processes_that_may_wait_for_rank_0_end_with_it(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    with that_started_one() as (strategy, started):
        fail_together(error, strategy)
        assert started.wait(60) == -signal.SIGKILL
        # Lightning's observer would kill this process, too, for a failed one that it finds here
        launcher = cast("_SubprocessScriptLauncher", strategy.launcher)
        assert launcher.procs == []


def two_strategies() -> tuple[Strategy, Strategy]:
    """Of rank 0, whose broadcasts are sent at once, and of rank 1, which receives them afterwards."""
    sent: list[bytes] = []

    def send(value: Any) -> Any:
        sent.append(pickle.dumps(value))
        return value

    first = SimpleNamespace(is_global_zero=True, broadcast=send)
    second = SimpleNamespace(is_global_zero=False, broadcast=lambda _: pickle.loads(sent.pop(0)))
    return cast("Strategy", first), cast("Strategy", second)


def test_what_rank_0_finds_holds_for_all() -> None:
    calls: list[int] = []

    def found() -> dict[str, int]:
        calls.append(len(calls))
        return {"stage": 3}

    for strategy in two_strategies():
        assert from_rank_0(strategy, found) == {"stage": 3}
    assert calls == [0]


def test_what_rank_0_fails_at_is_told_to_all() -> None:
    class UnsendableError(OSError):
        """A class of a function can't be pickled."""

    def failing(error: Exception) -> Any:
        def fail() -> None:
            raise error

        return fail

    first, second = two_strategies()
    with pytest.raises(UnsendableError, match=r"state\.json"):
        from_rank_0(first, failing(UnsendableError("state.json: no space")))
    with pytest.raises(RankZeroFailed, match=r"UnsendableError.*state\.json: no space"):
        from_rank_0(second, lambda: None)
    for strategy in two_strategies():
        with pytest.raises(ConfigurationError, match="a wrong key"):
            from_rank_0(strategy, failing(ConfigurationError("a wrong key")))


def test_a_process_that_is_gone_after_a_signal_is_gone_because_of_it() -> None:
    with StopSignals() as signals:
        with pytest.raises(ProcessLost), signals.explaining_losses():
            raise ProcessLost("another one is gone")
        signals.deferred = True
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(Stopped) as stopped, signals.explaining_losses():
            raise ProcessLost("another one is gone")
    assert stopped.value.code == 128 + signal.SIGUSR1
    assert stopped.value.after is None


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ("[/gloo/transport/tcp/pair.cc:525] Read error: Connection reset by peer", True),
        ("NCCL communicator was aborted on rank 1", True),
        ("Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 7000", False),
        ("ncclUnhandledCudaError: Call to CUDA function failed. unhandled cuda error", False),
    ],
)
def test_what_a_process_did_itself_is_not_called_a_loss(said: str, lost: bool) -> None:
    assert (what_was_lost(DistBackendError(said)) is not None) == lost

"""How the processes of a run end after an error, and which errors are another process's end."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any, cast

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import Strategy
from torch.distributed import DistBackendError

from relit.errors import ConfigurationError, ProcessLost, TrainingFailed
from relit.lost_process import what_was_lost
from relit.processes import fail_together
from relit.stop_signals import Stopped, StopSignals

MANY = cast("Strategy", SimpleNamespace(cluster_environment=LightningEnvironment()))


def signals_that_note(sent: list[Any]) -> StopSignals:
    signals = StopSignals()
    signals.forward = sent.append
    return signals


@pytest.mark.parametrize("error", [ConfigurationError("a wrong key"), TrainingFailed("no number")])
def test_what_is_so_for_all_processes_is_told_by_rank_0(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    monkeypatch.setenv("LOCAL_RANK", "0")
    fail_together(error, signals_that_note(sent), MANY)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(SystemExit) as left:
        fail_together(error, signals_that_note(sent), MANY)
    assert left.value.code == 0
    assert sent == []


@pytest.mark.parametrize("error", [OSError("no such device"), ProcessLost("another one is gone")])
def test_processes_that_may_wait_for_rank_0_end_with_it(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    monkeypatch.setenv("LOCAL_RANK", "1")
    fail_together(error, signals_that_note(sent), MANY)
    assert sent == [signal.SIGKILL]


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

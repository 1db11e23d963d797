"""The processes of one run: how they start, and how they end after a signal or an error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from relit.errors import ConfigurationError, ProcessLost, RankZeroFailed, TrainingFailed, TrialPruned
from relit.stop_signals import Stopped, StopSignals

log = logging.getLogger(__name__)

T = TypeVar("T")


def join_processes(trainer_options: Mapping[str, Any], signals: StopSignals) -> Strategy:
    """Start or join the other ranks before the first stage: rank 0's view of the run directory holds for all.

    Lightning would start them inside the first ``fit``. Process groups outlive a Trainer, so the stages'
    Trainers reuse this one. From their start on they get the signals that this process gets: those that wait
    for it would outlive it. And from when they meet none of them is ended by a signal alone.

    Raises:
        ConfigurationError: the strategy forks or spawns processes, which end with each stage.
    """
    try:
        trainer = Trainer(
            **trainer_options,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError) as error:
        raise ConfigurationError(f"trainer: {error}{_if_devices_lack(trainer_options)}") from error
    launcher = trainer.strategy.launcher
    if launcher is None:
        return trainer.strategy
    if not isinstance(launcher, _SubprocessScriptLauncher):
        raise ConfigurationError(
            f"trainer.strategy={trainer_options.get('strategy')} starts processes that end with each stage; "
            "use trainer.strategy=ddp."
        )
    signals.forward = launcher.kill
    try:
        launcher.launch(_meet, trainer.strategy, signals)
    except Exception:
        _kill_started(trainer.strategy)
        raise
    return trainer.strategy


def _if_devices_lack(trainer_options: Mapping[str, Any]) -> str:
    """A remedy, where GPUs are asked for and fewer are seen than that may need."""
    accelerator, devices = trainer_options.get("accelerator"), trainer_options.get("devices")
    if accelerator not in ("gpu", "cuda"):
        return ""
    return (
        f"\ntrainer.accelerator={accelerator} trainer.devices={devices}, and PyTorch sees "
        f"{torch.cuda.device_count()} GPU(s) here. If there are more, look at CUDA_VISIBLE_DEVICES and at "
        "`python -c 'import torch; print(torch.version.cuda)'`, which must not be None. Otherwise give "
        "trainer.devices=N, or trainer=cpu."
    )


def _meet(strategy: Strategy, signals: StopSignals) -> None:
    signals.deferred = True
    strategy.setup_environment()


def from_rank_0(strategy: Strategy, function: Callable[[], T]) -> T:
    """What ``function`` returns on rank 0, which alone calls it, for every rank.

    Nobody waits for a rank 0 that has failed: settings that are wrong are so for all, and of any other error
    the others learn that it ends the run.

    Raises:
        ConfigurationError: ``function`` raised it.
        RankZeroFailed: on the other ranks, where ``function`` raised something else.
    """
    outcome: T | Exception | None = None
    try:
        if strategy.is_global_zero:
            outcome = function()
    except ConfigurationError as error:
        outcome = error
    except Exception as error:
        # in words, for not every exception can be sent
        strategy.broadcast(RankZeroFailed(f"Rank 0 has failed, so the run ends: {error!r}"))
        raise
    outcome = strategy.broadcast(outcome)
    if isinstance(outcome, Exception):
        raise outcome
    return cast("T", outcome)


def end_together(stopped: Stopped, signals: StopSignals, strategy: Strategy) -> None:
    """Rank 0 tells of the end and hands the signal on; the others wait for it, where all stop at one place.

    For ``srun`` may kill all tasks when one of them has ended.

    Raises:
        SystemExit: what follows from handing on; or, in a process that rank 0 has started, with status 0.
    """
    try:
        if strategy.is_global_zero:
            log.info("%s", stopped)
            signals.hand_on(stopped.number)
    finally:
        if stopped.after is not None:
            strategy.barrier("stopped")
    if _started_by_rank_0(strategy):
        raise SystemExit(0) from stopped


def fail_together(error: Exception, strategy: Strategy) -> None:
    """After an error no process waits for one that has ended, and rank 0 comes to say what is wrong.

    Settings that are wrong, a loss that is no number and a run that is given up are so for all processes:
    rank 0 tells. Of any other error the processes that rank 0 has started may know nothing: it ends them.

    Raises:
        SystemExit: with status 0, in a process that rank 0 has started, where it tells.
    """
    for_all = isinstance(error, ConfigurationError | TrainingFailed | TrialPruned)
    if isinstance(error, ProcessLost) or not for_all:
        _kill_started(strategy)
    elif _started_by_rank_0(strategy):
        raise SystemExit(0) from error


def world_size(strategy: Strategy) -> int:
    """How many processes the run has; strategies of one process don't say."""
    return getattr(strategy, "world_size", 1)


def _kill_started(strategy: Strategy) -> None:
    """End the processes that this one has started, which may wait for it."""
    launcher = strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        started = list(launcher.procs)
        # Lightning looks at these every few seconds, and kills this process, too, when one has failed
        launcher.procs.clear()
        for process in started:
            process.kill()


def _started_by_rank_0(strategy: Strategy) -> bool:
    """Whether Lightning kills rank 0 on the spot when this process ends with another status than 0."""
    environment = getattr(strategy, "cluster_environment", None)
    return isinstance(environment, LightningEnvironment) and environment.local_rank() != 0

"""SIGTERM, SIGUSR1 and SIGUSR2: the run writes a checkpoint after the step it is at, and ends.

Clusters send one of them before they take a machine away. Those that mean *come back* are handed on after the
checkpoint: to submitit where it started the process, otherwise to SLURM, as ``scontrol requeue``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import Strategy

from relit.errors import ProcessLost

log = logging.getLogger(__name__)

# SIGUSR1 is what Lightning's users ask SLURM for, SIGUSR2 what submitit asks it for
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))


class Stopped(SystemExit):
    """A signal ended the run; the same command continues it.

    The exit status is the shell's for the signal: 143 for SIGTERM, on Linux 138 for SIGUSR1, 140 for SIGUSR2.

    Args:
        number: the signal's.
        after: what all processes of the run have just done together and kept, such as ``step 8 of the
            stage``; None where this one alone was interrupted.
    """

    def __init__(self, number: int, after: str | None = None) -> None:
        super().__init__(128 + number)
        self.number, self.after = number, after

    def __str__(self) -> str:
        name = signal.Signals(self.number).name
        if self.after is None:
            return f"{name}: the run ends; the same command continues from what is finished."
        return f"{name}: the run ends after {self.after}, which is kept; the same command continues there."


class StopSignals:
    """Inside this context manager a signal ends the run, but not in the middle of a step.

    While a stage trains the signal is noted, and whoever writes checkpoints asks :meth:`agreed` after each
    step. Where there are several processes it is noted from when they meet until the last stage is recorded,
    for the others would wait for one that ended alone. They agree before each stage, too, and end after its
    first step at the latest. At any other time :class:`Stopped` is raised where the process is: all that is
    finished lies on the disk. Only the first signal counts, for a cluster sends several: SLURM a SIGTERM to
    what it queues again.

    Attributes:
        forward: called with the signal, to send it to processes that this one has started.
        received: number of the first signal; None before.
        deferred: whether signals are noted only.
    """

    def __init__(self) -> None:
        self.forward: Callable[[int], object] | None = None
        self.received: int | None = None
        self.deferred = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self.listen()
        return self

    def __exit__(self, *exception: object) -> None:
        if _may_set_handlers():
            for number, handler in self._before.items():
                # None: it was none of Python's, and can't be put back
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._leave_to_outer()

    def listen(self) -> None:
        """Take the signals over, again if someone else has taken them."""
        if _may_set_handlers():
            for number in SIGNALS:
                signal.signal(number, self._note)

    def agreed(self, strategy: Strategy) -> int | None:
        """The signal that any process of the run has received, the same for all; None if there is none.

        All processes have to ask at the same time.
        """
        if getattr(strategy, "world_size", 1) == 1:
            return self.received
        received = torch.tensor(self.received or 0, device=strategy.root_device)
        return int(strategy.reduce(received, reduce_op="max")) or None

    def end_at_once(self) -> None:
        """From here on a signal ends this process where it is.

        Raises:
            Stopped: one has come in since the processes last agreed.
        """
        self.deferred = False
        if self.received is not None:
            raise Stopped(self.received)

    def hand_on(self, number: int) -> None:
        """Let who minded the signal before this run do with it what they do; else have SLURM queue the job
        again. With SIGTERM SLURM ends jobs that it has queued again itself, and those that are cancelled; but
        a period of grace begins with it, too, and only jobs that are there at its end are queued again.
        """
        before = self._before.get(number)
        minder = before if callable(before) and before is not signal.default_int_handler else None
        if minder is not None:
            minder(number, None)
        # submitit lets SIGTERM pass
        again = _has_grace() if number == signal.SIGTERM else minder is None
        if again:
            requeue()

    @contextlib.contextmanager
    def explaining_losses(self) -> Iterator[None]:
        """Inside, another process that is gone when a signal has come in is gone because of it.

        Raises:
            Stopped: for this process alone, for there is nobody left to agree with.
        """
        try:
            yield
        except ProcessLost as error:
            if self.received is None:
                raise
            raise Stopped(self.received) from error

    def _leave_to_outer(self) -> None:
        """Let those who minded signals around this run know of one that it noted: a run that failed, or was
        given up, before it got to end by the signal has told nobody.
        """
        outer = getattr(self._before.get(self.received or 0), "__self__", None)
        if isinstance(outer, StopSignals) and outer.received is None:
            outer.received = self.received

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            return
        self.received = number
        if self.forward is not None:
            self.forward(number)
        if not self.deferred:
            raise Stopped(number)


class StopAfterStep(Callback):
    """Tells ``signals`` when a stage trains. Who ends that is the runner, once the stage is recorded."""

    def __init__(self, signals: StopSignals) -> None:
        self.signals = signals

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the signals back as soon as Lightning has taken SIGTERM, before it reads data: it talks to the
        other processes from within its handler, whatever they are at.
        """
        register = trainer._signal_connector.register_signal_handlers

        def register_and_take_back() -> None:
            register()
            self.signals.listen()

        trainer._signal_connector.register_signal_handlers = register_and_take_back  # type: ignore[method-assign]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From the first step on there is something to lose."""
        self.signals.deferred = True


def requeue() -> None:
    """Have SLURM queue this process's job again, if it is one."""
    job = _job()
    if job is None:
        return
    try:
        _scontrol("requeue", job)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()
        log.warning("SLURM did not queue job %s again (%s). Submit it again to go on.", job, said)
    else:
        log.info("Job %s is queued again.", job)


def _has_grace() -> bool:
    """Whether this process's job is to make way for another one, and has been given time for it."""
    job = _job()
    if job is None:
        return False
    try:
        fields = _scontrol("show", "job", job).split()
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("SLURM did not say what becomes of job %s (%s).", job, error)
        return False
    told = any(field.startswith("PreemptTime=") and field != "PreemptTime=None" for field in fields)
    return told and "JobState=RUNNING" in fields


def _job() -> str | None:
    """The job's name for ``scontrol``, if this process is one of SLURM's."""
    job, array = SLURMEnvironment.job_id(), os.environ.get("SLURM_ARRAY_JOB_ID")
    if job is None:
        return None
    return str(job) if array is None else f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"


def _scontrol(*arguments: str) -> str:
    command = ["scontrol", *arguments]
    return subprocess.run(command, check=True, timeout=60, capture_output=True, text=True).stdout


def ignore_in_worker(worker: int) -> None:  # noqa: ARG001
    """For a data loader's worker: what stops the run is the training process's business.

    SLURM signals every process of a job, and a worker that died would take down the step that is still to be
    finished. Workers end with the process that they read for.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _may_set_handlers() -> bool:
    return threading.current_thread() is threading.main_thread()

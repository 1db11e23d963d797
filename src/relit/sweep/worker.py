"""One process of those that share a study: it takes a trial, runs it, tells how it ended, takes the next."""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import os
import socket
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from relit.atomic import NO_SPACE
from relit.errors import ConfigurationError, RunInUse, TrialPruned, TrialTakenOver
from relit.failed_job import failure_reason
from relit.run_lock import in_use
from relit.stop_signals import Stopped, StopSignals
from relit.sweep.liveness import recover, signs_of_life
from relit.sweep.search_space import SearchSpace
from relit.sweep.study import (
    REASON,
    RUN,
    SURPLUS,
    WORKER,
    ask,
    last_trials,
    run_again,
    run_of,
    standing,
)

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""How often a worker looks whether the directory of its run is free."""

Launch = Callable[[list[str], int, int], JobReturn]
"""Called with a run's overrides, its number and the storage's id of its trial; returns when it has ended."""


@dataclass
class Worker:
    """Takes trials of ``study`` until it has as many runs as it is to have.

    A run that fails is noted, and the next one is taken. One that is interrupted goes back into the queue;
    one whose worker died follows it when its signs of life have stopped. Whoever takes it next goes on in its
    directory from its last checkpoint.

    Attributes:
        study: shared with other workers.
        storage: where the study is kept.
        space: what trials draw from.
        launch: carries out a run.
        folder: the directories of runs, each named by its number.
        runs: how many runs the study is to have, whoever carries them out.
        patience: seconds to wait at the end for runs of other workers, in case they die.
        on_change: called after each run.
        exhausted: whether the sampler has said that there is nothing else to try.
        signals: those that end this worker.
    """

    study: optuna.Study
    storage: RDBStorage
    space: SearchSpace
    launch: Launch
    folder: Path
    runs: int
    patience: float
    on_change: Callable[[], None]
    exhausted: bool = False
    signals: StopSignals = field(default_factory=StopSignals)

    def work(self) -> None:
        """Until no run is left to begin, to go on with or to wait for.

        A signal that ends a run comes here before it goes to a cluster, for the handlers set here are those
        that the run finds: once it is handed on, the job may end at any moment. One that the run notes, but
        ends otherwise, ends the worker when it has told how.

        Raises:
            Stopped: by a signal, when the run has been given back and the signal handed on.
            SystemExit: with status 2, if a run found a mistake in its settings before any had worked; with 1,
                when the disk is full and the run has been given back.
        """
        self.signals = StopSignals()
        with self.signals:
            try:
                self._until_done()
            except Stopped as stopped:
                self.signals.hand_on(stopped.number)
                raise

    def _until_done(self) -> None:
        waited = 0.0
        while True:
            # in the middle of it a run that is found dead would get lost
            self.signals.deferred = True
            recover(self.study, self.storage)
            self.signals.end_at_once()
            found = standing(self.study)
            if found.waiting or (found.begun < self.runs and not self.exhausted):
                self.take_one()
                waited = 0.0
            elif found.running and waited < self.patience:
                pause = min(1.0, self.patience - waited)
                time.sleep(pause)
                waited += pause
            else:
                return

    def take_one(self) -> None:
        """The next trial, from asking for it to telling how it ended."""
        # a trial that is asked for, but not yet cared for, would have to be found dead
        self.signals.deferred = True
        trial = ask(self.study)
        with signs_of_life(self.storage, trial._trial_id):
            try:
                self.signals.end_at_once()
                self._carry_out(trial)
            except (KeyboardInterrupt, SystemExit):
                self._give_back(trial, "interrupted")
                raise
            except (UpdateFinishedTrialError, TrialTakenOver):
                # it gave no sign of life for too long: its machine was suspended, say
                print(f"run {run_of(trial)}: left to the worker that has taken it over", flush=True)
            except Exception as error:  # this worker's own, or its sampler's: others would meet it, too
                trial.set_user_attr(REASON, textwrap.shorten(f"{type(error).__name__}: {error}", 200))
                self._tell(trial, TrialState.FAIL)
                raise
        self.on_change()
        # what a failed run held on the device hangs on frames that refer to each other
        gc.collect()

    def _carry_out(self, trial: optuna.Trial) -> None:
        if self._is_surplus(trial):
            trial.set_user_attr(SURPLUS, True)
            self._tell(trial, TrialState.FAIL)
            return
        trial.set_user_attr(WORKER, f"{socket.gethostname()}:{os.getpid()}")
        overrides = self.space.overrides(trial)
        drawn = " ".join(f"{key}={value}" for key, value in trial.params.items())
        print(f"run {run_of(trial)} of {self.study.study_name}: {drawn}", flush=True)
        try:
            job = self._launched(trial, overrides)
        except (HydraException, UpdateFinishedTrialError):
            raise
        except Exception as error:  # a cluster's: the job was lost
            self._fail(trial, error)
            return
        self._judge(trial, job)

    def _launched(self, trial: optuna.Trial, overrides: list[str]) -> JobReturn:
        """How the run ended, once its directory is free.

        Whoever has it may have seemed dead and leaves at its next checkpoint. This worker keeps its trial,
        for another one would be no better off.
        """
        run = run_of(trial)
        job = self.launch(overrides, run, trial._trial_id)
        # not by the property, which prints a line of Hydra's
        while isinstance(job._return_value, RunInUse):
            print(f"run {run}: waits, {job._return_value}", flush=True)
            self._wait_for(self.folder / str(run), trial)
            job = self.launch(overrides, run, trial._trial_id)
        return job

    def _wait_for(self, run_dir: Path, trial: optuna.Trial) -> None:
        """Until ``run_dir`` is free, or ``trial`` has been taken over in its turn."""
        while True:
            time.sleep(LOOK_SECONDS)
            state = self.storage.get_trial(trial._trial_id).state
            self.storage.check_trial_is_updatable(trial._trial_id, state)
            if not in_use(run_dir):
                return

    def _judge(self, trial: optuna.Trial, job: JobReturn) -> None:
        value = job._return_value
        if job.status is not JobStatus.FAILED:
            self._complete(trial, value)
        elif isinstance(value, TrialTakenOver):
            raise value
        elif isinstance(value, TrialPruned):
            self._tell(trial, TrialState.PRUNED)
            print(f"run {run_of(trial)}: given up, {value}", flush=True)
        elif isinstance(value, OSError) and value.errno in NO_SPACE:
            # it has said so, and would say so of all runs; given back, this one goes on later
            raise SystemExit(1) from value
        else:
            self._fail(trial, value)

    def _give_back(self, trial: optuna.Trial, reason: str) -> None:
        """Into the queue first: a worker that dies in between leaves the run to others, not to nobody.

        What has been told already stays so, be it by this worker or by one that has taken the run over.
        """
        with contextlib.suppress(UpdateFinishedTrialError):
            trial.set_user_attr(REASON, reason)
            run_again(self.study, self.study.get_trials(deepcopy=False)[trial.number])
            self._tell(trial, TrialState.FAIL)

    def _complete(self, trial: optuna.Trial, value: Any) -> None:
        if not isinstance(value, int | float) or math.isnan(value):
            self._fail(trial, ValueError(f"the monitored value is {value}"))
            return
        self._tell(trial, TrialState.COMPLETE, float(value))
        print(f"run {run_of(trial)}: {value:.6g}", flush=True)

    def _fail(self, trial: optuna.Trial, error: BaseException) -> None:
        reason = failure_reason(error, self.folder / str(run_of(trial)))
        trial.set_user_attr(REASON, reason)
        self._tell(trial, TrialState.FAIL)
        print(f"run {run_of(trial)}: failed, {reason}", flush=True)
        found = standing(self.study)
        if isinstance(error, ConfigurationError) and not found.complete and not found.pruned:
            raise SystemExit(2)  # it would fail them all

    def _tell(self, trial: optuna.Trial, state: TrialState, value: float | None = None) -> None:
        # one that gave no sign of life for too long was taken over by another worker
        try:
            self.study.tell(trial, value, state=state, skip_if_finished=True)
        except RuntimeError as error:
            # what samplers of a grid ask for when all of it has been tried; the trial is told by then
            if "Study.stop" not in str(error):
                raise
            self.exhausted = True

    def _is_surplus(self, trial: optuna.Trial) -> bool:
        """Whether other workers began the last runs while this one asked for one."""
        if RUN in trial.user_attrs:
            return False
        return sum(run < trial.number for run in last_trials(self.study)) >= self.runs

"""An Optuna study that several workers share, and whose trials outlive their workers.

The trials of one run, the first and those that go on where its worker died, share the run's number: its
directory, and so its checkpoints.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from relit.errors import ConfigurationError
from relit.run_settings import ADDED
from relit.sweep.storage import open_storage, shown

RUN = "run"
"""User attribute: number of the trial that the run began with."""
DEATHS = "deaths"
"""User attribute: how many workers died over the run."""
REASON = "reason"
"""User attribute: why the trial failed."""
WORKER = "worker"
"""User attribute: host and process that took the trial."""
SURPLUS = "surplus"
"""User attribute: two workers asked for the last trial at once, and this one was not needed."""
SETTINGS = "settings"
"""User attribute of the study: what all its runs have in common."""


def open_study(
    name: str,
    storage: str,
    direction: Literal["maximize", "minimize"],
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner,
    *,
    heartbeat: int,
    grace: int,
    reruns: int,
) -> tuple[optuna.Study, RDBStorage]:
    """The study ``name`` in ``storage``, begun if there is none, and the opened storage.

    Args:
        name: of the study.
        storage: where it is kept, as :func:`open_storage` takes it.
        direction: ``maximize`` or ``minimize``.
        sampler, pruner: this worker's.
        heartbeat: seconds between two signs of life of a trial.
        grace: seconds without one after which its worker counts as dead.
        reruns: how often a trial whose worker died is run again.

    Raises:
        ConfigurationError: the study was begun with the other direction.
    """

    def died(study: optuna.Study, trial: FrozenTrial) -> None:
        if trial.user_attrs.get(DEATHS, 0) < reruns:
            run_again(study, trial, deaths=1)

    opened = open_storage(
        storage, heartbeat_interval=heartbeat, grace_period=grace, heartbeat_stale_trial_callback=died
    )
    study = optuna.create_study(
        study_name=name,
        storage=opened,
        direction=direction,
        sampler=sampler,
        pruner=pruner,
        load_if_exists=True,
    )
    begun = study.direction.name.lower()
    if begun != direction:
        raise ConfigurationError(
            f"hydra.sweeper.direction={direction}: the study {name} in {shown(storage)} was begun to "
            f"{begun}. Give its direction, or begin another study with name=OTHER."
        )
    return study, opened


def agree_on(study: optuna.Study, settings: Mapping[str, Any]) -> None:
    """Refuse ``settings`` of a worker whose runs could not be compared with the study's.

    Args:
        study: the first worker's settings are kept in it.
        settings: by dotted key, of what is not searched; JSON values.
    """
    if SETTINGS not in study.user_attrs:
        study.set_user_attr(SETTINGS, dict(settings))
    begun, absent = {**ADDED, **study.user_attrs[SETTINGS]}, "(absent)"
    settings = {**ADDED, **settings}
    keys = [key for key in sorted({*begun, *settings}) if begun.get(key, absent) != settings.get(key, absent)]
    if not keys:
        return
    lines = [
        f"  {key}: {begun.get(key, absent)!r} in the study, {settings.get(key, absent)!r} now" for key in keys
    ]
    raise ConfigurationError(
        f"the study {study.study_name} was begun with other settings:\n" + "\n".join(lines) + "\n"
        "Give the settings it was begun with to go on, or begin another study with name=OTHER."
    )


def check_ranges(study: optuna.Study, searched: Mapping[str, optuna.distributions.BaseDistribution]) -> None:
    """Refuse a search space that can't go on from the study's trials: choices may not change."""
    for trial in study.get_trials(deepcopy=False):
        for key in trial.distributions.keys() & searched.keys():
            try:
                optuna.distributions.check_distribution_compatibility(trial.distributions[key], searched[key])
            except ValueError as error:
                raise ConfigurationError(
                    f"sweep: {key}: the study {study.study_name} was begun with "
                    f"{trial.distributions[key]}, now it is {searched[key]}. Only bounds may change; begin "
                    "another study with name=OTHER."
                ) from error


def ask(study: optuna.Study) -> optuna.Trial:
    """The next trial: one of the queue, or a new one. Its signs of life are the caller's business."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed to be used with")
        return study.ask()


def run_of(trial: FrozenTrial | optuna.Trial) -> int:
    """The number of the run that ``trial`` is, or goes on with."""
    return int(trial.user_attrs.get(RUN, trial.number))


def run_again(study: optuna.Study, trial: FrozenTrial, deaths: int = 0) -> None:
    """Put the run of ``trial``, which ends before its time, back into the queue with the same values.

    What samplers note of it is kept: by it a grid knows its point again. Once: a trial that is not its run's
    last one has been followed already.
    """
    if last_trials(study)[run_of(trial)].number != trial.number:
        return
    known = {key: value for key, value in trial.user_attrs.items() if key != REASON}
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            intermediate_values=trial.intermediate_values,
            system_attrs=trial.system_attrs,
            user_attrs={
                **known,
                RUN: run_of(trial),
                DEATHS: trial.user_attrs.get(DEATHS, 0) + deaths,
            },
        )
    )


@dataclass(frozen=True)
class Standing:
    """How far a study is, in runs: each counts by the last of its trials."""

    waiting: int
    running: int
    complete: int
    pruned: int
    failed: int

    @property
    def begun(self) -> int:
        """All of them."""
        return self.waiting + self.running + self.complete + self.pruned + self.failed


def last_trials(study: optuna.Study) -> dict[int, FrozenTrial]:
    """The last trial of each run, by the run's number."""
    trials = study.get_trials(deepcopy=False)
    return {run_of(trial): trial for trial in trials if SURPLUS not in trial.user_attrs}


def standing(study: optuna.Study) -> Standing:
    """Count the study's runs."""
    states = [trial.state for trial in last_trials(study).values()]
    order = (
        TrialState.WAITING,
        TrialState.RUNNING,
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
    )
    return Standing(*(states.count(state) for state in order))

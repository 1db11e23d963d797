"""A trial as its run sees it, in whichever process that is: the worker's or a cluster's."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf

from relit.errors import ConfigurationError

log = logging.getLogger(__name__)

STUDY, TRIAL = "RELIT_TRIAL_STUDY", "RELIT_TRIAL_ID"
"""Environment variables of a run, by which it finds its trial. They are set by overrides, which Hydra and its
launchers keep in files: no place for the address of a database."""


class StudyTrial:
    """The trial that the environment names.

    Only what asks it opens the study: of many processes of a run, one does.

    Args:
        storage: URL of the study's database.
        pruner: node of the study's pruner.
    """

    def __init__(self, storage: str, pruner: Mapping[str, Any]) -> None:
        self.storage, self.pruner = storage, pruner

    def give_up(self, step: int, value: float) -> bool:
        """Report the monitored ``value`` at ``step`` of the run; whether other trials do so much better.

        A run that goes on from a checkpoint may report a step again; the first report stands. While the
        database does not answer nothing is given up.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        with _outages_survived(f"be told of step {step}"):
            trial = self._trial
            try:
                if step not in self._reported:
                    trial.report(value, step)
                    self._reported.add(step)
                return bool(trial.should_prune())
            except UpdateFinishedTrialError:
                # another worker has taken it over; the next checkpoint is the place to leave
                return False
        return False

    def taken_over(self) -> bool:
        """Whether other workers have ended this trial: it gave no sign of life for too long."""
        with _outages_survived("be asked whose the run is"):
            return self._stored().state.is_finished()
        return False

    def _stored(self) -> Any:
        return self._trial.storage.get_trial(int(os.environ[TRIAL]))

    @cached_property
    def _trial(self) -> Any:
        import optuna
        from hydra.utils import instantiate

        from relit.sweep.storage import open_storage

        study = optuna.load_study(
            study_name=os.environ[STUDY],
            storage=open_storage(self.storage),
            pruner=instantiate(self.pruner, _convert_="all"),
        )
        return optuna.trial.Trial(study, int(os.environ[TRIAL]))

    @cached_property
    def _reported(self) -> set[int]:
        return set(self._stored().intermediate_values)


def trial_of(hydra: HydraConf, name: str) -> StudyTrial | None:
    """The trial that this run is, if it is one of a study.

    Args:
        hydra: Hydra's own configuration.
        name: the run's.
    """
    if STUDY not in os.environ or hydra.sweeper.get("pruner") is None:
        return None
    return StudyTrial(database(hydra, name), hydra.sweeper.pruner)


def database(hydra: HydraConf, name: str) -> str:
    """The URL of the study's database: a worker and its runs read it from the same place.

    Args:
        hydra: Hydra's own configuration.
        name: of all runs of the study.
    """
    if hydra.sweeper.storage is not None:
        return str(hydra.sweeper.storage)
    return f"sqlite:///{Path(hydra.runtime.cwd, hydra.sweep.dir, name)}/study.db"


@contextlib.contextmanager
def _outages_survived(what: str) -> Iterator[None]:
    """Inside, a database that does not answer for a while is no reason to lose a run of days."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (ConfigurationError, OSError, StorageInternalError, SQLAlchemyError) as error:
        log.warning("The study could not %s: %s", what, error)

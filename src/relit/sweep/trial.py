"""A trial as its run sees it, in whichever process that is: the worker's or a cluster's."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from relit.errors import ConfigurationError

log = logging.getLogger(__name__)

STORAGE, STUDY, TRIAL = "RELIT_TRIAL_STORAGE", "RELIT_TRIAL_STUDY", "RELIT_TRIAL_ID"
"""Environment variables of a run, by which it finds its trial."""


class StudyTrial:
    """The trial that the environment names.

    Only what asks it opens the study: of many processes of a run, one does.

    Args:
        pruner: node of the study's pruner.
    """

    def __init__(self, pruner: Mapping[str, Any]) -> None:
        self.pruner = pruner

    def give_up(self, step: int, value: float) -> bool:
        """Report the monitored ``value`` at ``step`` of the run; whether other trials do so much better.

        A run that goes on from a checkpoint may report a step again; the first report stands. While the
        database does not answer nothing is given up.
        """
        from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            trial = self._trial
            if step not in self._reported:
                trial.report(value, step)
                self._reported.add(step)
            return bool(trial.should_prune())
        except UpdateFinishedTrialError:
            # it gave no sign of life for so long that another worker has begun it again
            return True
        except (ConfigurationError, OSError, StorageInternalError, SQLAlchemyError) as error:
            log.warning("The study could not be told of step %d: %s", step, error)
            return False

    @cached_property
    def _trial(self) -> Any:
        import optuna
        from hydra.utils import instantiate

        from relit.sweep.study import open_storage

        study = optuna.load_study(
            study_name=os.environ[STUDY],
            storage=open_storage(os.environ[STORAGE]),
            pruner=instantiate(self.pruner, _convert_="all"),
        )
        return optuna.trial.Trial(study, int(os.environ[TRIAL]))

    @cached_property
    def _reported(self) -> set[int]:
        stored = self._trial.storage.get_trial(int(os.environ[TRIAL]))
        return set(stored.intermediate_values)


def trial_of(sweeper: Mapping[str, Any]) -> StudyTrial | None:
    """The trial that this run is, if it is one of a study.

    Args:
        sweeper: node of Hydra's sweeper.
    """
    if STUDY not in os.environ or sweeper.get("pruner") is None:
        return None
    return StudyTrial(sweeper["pruner"])

"""Which trials of a study are at work: signs of life, and what becomes of trials that give none."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from relit.sweep.storage import without_experimental_warnings

log = logging.getLogger(__name__)


@contextlib.contextmanager
def signs_of_life(storage: RDBStorage, trial_id: int) -> Iterator[None]:
    """Inside, other workers see that the trial is at work."""
    every, end = storage.get_heartbeat_interval(), threading.Event()
    assert every is not None

    def beat() -> None:
        while True:
            try:
                storage.record_heartbeat(trial_id)
            except (SQLAlchemyError, StorageInternalError) as error:
                # a database that does not answer for a while is no reason to lose a run of days
                log.warning("No sign of life could be left in the study: %s", error)
            if end.wait(every):
                return

    thread = threading.Thread(target=beat, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def recover(study: optuna.Study, storage: RDBStorage) -> None:
    """Put the runs of dead workers back into the queue.

    Optuna passes over trials that have never given a sign of life, because their workers died right after
    they had asked. Such a trial is given one here, once: if no other follows, it is stale like all others
    when the time of grace is over, by the clock of the database, whatever those of the workers say.
    """
    with without_experimental_warnings():
        fail_stale_trials(study)
    for trial_id in _silent_trials(study, storage):
        storage.record_heartbeat(trial_id)


def _silent_trials(study: optuna.Study, storage: RDBStorage) -> set[int]:
    """Ids of trials at work without any sign of life."""
    running = {trial._trial_id for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))}
    column: sqlalchemy.ColumnClause[int] = sqlalchemy.column("trial_id")
    heard = sqlalchemy.select(column).select_from(sqlalchemy.table("trial_heartbeats"))
    with storage.engine.connect() as connection:
        return running - set(connection.scalars(heard.where(column.in_(running))))

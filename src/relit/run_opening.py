"""Open a run's directory, and its logger, for all of its processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import Strategy

from relit.instantiation import bind
from relit.loggers import RunLogger
from relit.processes import from_rank_0, world_size
from relit.run_lock import RunLock
from relit.run_state import RunState, open_run


def open_on_all_ranks(strategy: Strategy, lock: RunLock, run_dir: Path, config: dict[str, Any]) -> RunState:
    """Rank 0 locks, and reads or begins, the run; what it found, a refusal too, holds for every rank.

    Raises:
        ConfigurationError: the run is in use, or was begun with other settings.
        OSError: on rank 0, the directory can't be written; RankZeroFailed on the others.
    """

    def take_up() -> RunState:
        lock.acquire()
        return open_run(run_dir, config, fresh=bool(config["fresh"]), processes=world_size(strategy))

    return from_rank_0(strategy, take_up)


def open_logger(config: dict[str, Any], run_dir: Path, state: RunState) -> RunLogger | None:
    """The run's logger, named by the run's place in the folder of runs; None where there is to be none."""
    if not config.get("logger"):
        return None
    factory = bind(config["logger"])
    # the runs of a sweep share their name, but not their place in the folder of runs
    runs = Path(config["runs"]).absolute()
    inside = run_dir.absolute().is_relative_to(runs)
    run_name = run_dir.absolute().relative_to(runs).as_posix() if inside else str(config["name"])
    return RunLogger(factory(run_dir=run_dir, run_name=run_name, run_id=state.run_id, config=config))

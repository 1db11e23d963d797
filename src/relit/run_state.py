"""``state.json``: what a run directory has finished, and the settings it was begun with."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from relit.atomic import atomic_write
from relit.errors import ConfigurationError
from relit.run_settings import binding_settings, refuse_other_settings

STATE_FORMAT = 1

_OWNED_BY_RUN = (
    "stages",
    "samples",
    "state.json",
    "config.yaml",
    "metrics.json",
    "scores.csv",
    "rounds.json",
    "traceback.txt",
    "provenance.json",
    "weights.safetensors",
    "tiny_clip.safetensors",
    "report.html",
)


@dataclass
class FinishedStage:
    """A stage that is done: its place, its name, its optimisation steps, what it was last validated by.

    ``ended`` is a time of ISO 8601 in UTC, or None in runs of versions that did not note it.
    """

    index: int
    name: str
    steps: int
    validated: dict[str, float] = field(default_factory=dict)
    ended: str | None = None


@dataclass
class RunState:
    """Progress of a run: finished stages, the logger's run id and the settings that must not change.

    ``processes`` is how many the stage at work has, or None in runs of versions that did not note it.
    """

    run_id: str
    settings: dict[str, Any]
    finished: list[FinishedStage] = field(default_factory=list)
    processes: int | None = None

    @property
    def offset(self) -> int:
        """Steps of all finished stages: where the next stage begins on the run's one step axis."""
        return sum(stage.steps for stage in self.finished)

    @property
    def validated(self) -> dict[str, float]:
        """Validation metrics by name, each by the last stage that measured it."""
        return {name: value for stage in self.finished for name, value in stage.validated.items()}


def open_run(run_dir: Path, config: Mapping[str, Any], *, fresh: bool, processes: int = 1) -> RunState:
    """Take up the run in ``run_dir``, or begin one there.

    Args:
        run_dir: the run's directory; created if missing.
        config: the resolved configuration.
        fresh: remove what an earlier run left (stages, results, state) and begin anew. Logs stay.
        processes: that the run has now.

    Raises:
        ConfigurationError: the directory holds a run with other settings, a stage that was begun by another
            number of processes, or an unreadable ``state.json``.
    """
    if fresh:
        _remove_run(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    settings = binding_settings(config)
    if not (run_dir / "state.json").exists():
        state = RunState(run_id=secrets.token_hex(4), settings=settings, processes=processes)
        write_state(run_dir, state)
        return state
    state = read_state(run_dir)
    in_a_stage = any(run_dir.glob("stages/*/checkpoints/*"))
    if not state.finished and not in_a_stage:
        # a run that ended before it trained, by a wrong path say, binds nobody to its settings
        state.settings = settings
        write_state(run_dir, state)
    refuse_other_settings(run_dir, state.settings, config)
    if config.get("train", True) and state.processes != processes:
        if in_a_stage and state.processes is not None:
            raise ConfigurationError(
                f"{run_dir}: its stage was begun by {state.processes} processes, and here are {processes}: "
                f"it would skip photographs or see them twice. Continue with {state.processes} "
                "(trainer.devices, trainer.num_nodes), use name=other, or fresh=true to start anew."
            )
        state.processes = processes
        write_state(run_dir, state)
    return state


def write_state(run_dir: Path, state: RunState) -> None:
    """Write ``state.json`` atomically."""
    text = json.dumps({"format": STATE_FORMAT, **asdict(state)}, indent=2)
    atomic_write(run_dir / "state.json", (text + "\n").encode())


def read_state(run_dir: Path) -> RunState:
    """Read ``state.json``; ConfigurationError if it is damaged or of another format."""
    path = run_dir / "state.json"
    try:
        stored = json.loads(path.read_text())
        if stored.pop("format") != STATE_FORMAT:
            raise ValueError("written by another version of Relit")
        stored["finished"] = [FinishedStage(**stage) for stage in stored["finished"]]
        return RunState(**stored)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error}). "
            "Use name=other for another run directory, or fresh=true to start anew."
        ) from error


def _remove_run(run_dir: Path) -> None:
    # state.json goes first: without it a half-removed directory counts as not begun
    for name in sorted(_OWNED_BY_RUN, key=lambda name: name != "state.json"):
        path = run_dir / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

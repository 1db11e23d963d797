"""The weights that a run begins with, goes on with, or only evaluates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relit.clip import check_clip
from relit.errors import ConfigurationError
from relit.run import Run
from relit.weights import WEIGHTS_FILE, Weights, read_weights


def weights_to_train(run: Run) -> Weights:
    """What the next stage finds: all weights so far, or before the first stage the groups of ``start``."""
    if run.state.finished:
        return _stored(run, len(run.state.finished))
    start = run.config.get("start")
    return {} if start is None else read_start(start, run.clip)[0]


def weights_to_evaluate(run: Run) -> tuple[Weights, int]:
    """The finished run's weights, or those that ``start`` names, and how many steps they were trained.

    Raises:
        ConfigurationError: the run is not finished, or there are no weights.
    """
    if len(run.state.finished) == len(run.plan):
        return _stored(run, len(run.plan)), run.state.offset
    if run.state.finished or any(run.run_dir.glob("stages/*/checkpoints/*")):
        raise ConfigurationError(
            f"train=false: the run in {run.run_dir} is not finished. Finish it without train=false, or "
            "evaluate other weights with name=other start=FILE."
        )
    if run.config.get("start") is not None:
        return read_start(run.config["start"], run.clip)
    if (run.run_dir / WEIGHTS_FILE).is_file():
        return read_start(run.run_dir / WEIGHTS_FILE, run.clip)
    raise ConfigurationError(
        f"train=false: {run.run_dir} holds no finished run. Name the run's directory with name=NAME, or "
        "a weight file with start=FILE."
    )


def read_start(start: str | Path, clip: Mapping[str, Any]) -> tuple[Weights, int]:
    """The groups of a weight file, and how many steps they were trained; 0 where it does not say.

    Args:
        start: the file.
        clip: the run's CLIPs by role.

    Raises:
        ConfigurationError: it is no weight file, or was learned with other CLIPs.
    """
    if Path(start).suffix in (".pth", ".pt"):
        raise ConfigurationError(
            f"start={start}: make a weight file of it first: relit import {start} -o weights.safetensors"
        )
    weights, metadata = read_weights(start)
    check_clip(metadata, {role: one.identity for role, one in clip.items()}, start)
    return weights, int(metadata.get("steps") or 0)


def _stored(run: Run, done: int) -> Weights:
    weights, _ = read_weights(run.weights_file(run.plan[done - 1]))
    return weights

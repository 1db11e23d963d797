"""What a run directory says about its run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from relit.errors import ConfigurationError
from relit.logged import LOG_FILES, Curve, logged_curves
from relit.metrics_file import METRICS_FILE
from relit.plan import expand_plan
from relit.report.scores import ImageScore, read_scores
from relit.run_scores import SCORES_FILE
from relit.run_state import RunState, read_state

CONFIG_FILE = "config.yaml"

METHODS = {"clip_lit": "CLIP-LIT", "clip_restorex": "CLIP-RestoreX", "tiny_clip": "embedded CLIP"}
"""Names of methods by the package that trains them."""


@dataclass(frozen=True)
class Run:
    """One run, as far as it got.

    Attributes:
        folder: the run directory.
        config: the resolved configuration.
        config_text: the same as the file has it.
        state: finished stages; None where ``state.json`` is missing.
        trained: when the last finished stage ended, or None.
        metrics: ``metrics.json``, or None while there is none.
        rounds: rows of ``rounds.json``, empty where there is none.
        curves: what was logged, by name; empty without CSV logs.
        scores: figures of single photographs, empty without ``scores.csv``.
    """

    folder: Path
    config: Mapping[str, Any]
    config_text: str
    state: RunState | None = None
    trained: datetime | None = None
    metrics: Mapping[str, Any] | None = None
    rounds: list[Mapping[str, Any]] = field(default_factory=list)
    curves: dict[str, Curve] = field(default_factory=dict)
    scores: list[ImageScore] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As the configuration has it."""
        return str(self.config.get("name") or self.folder.name)

    @property
    def method(self) -> str:
        """See :func:`method_of`."""
        return method_of(self.config)

    @property
    def steps(self) -> int:
        """Optimisation steps of all finished stages."""
        return 0 if self.state is None else self.state.offset

    @property
    def stages(self) -> tuple[int, int]:
        """Stages that are finished, and stages of the plan."""
        return len(self.state.finished) if self.state else 0, len(expand_plan(self.config.get("plan")))

    @property
    def boundaries(self) -> list[int]:
        """Steps, ascending, at which a finished stage ended and another may have begun."""
        return list(accumulate(stage.steps for stage in self.state.finished)) if self.state else []

    @property
    def samples(self) -> list[Path]:
        """Pictures side by side, by name."""
        return sorted(self.folder.glob("samples/*.png"))


def method_of(config: Mapping[str, Any]) -> str:
    """The method of the package whose modules the plan's stages are, as :data:`METHODS` names it."""
    for stage in (config.get("stage") or {}).values():
        package = str(((stage or {}).get("module") or {}).get("_target_")).split(".")[1:2]
        if package:
            return METHODS.get(package[0], package[0])
    return "unknown"


def read_run(folder: Path) -> Run:
    """Read a run directory; what a run that is not finished lacks stays empty.

    Raises:
        ConfigurationError: ``folder`` is no run directory, or a file in it is damaged.
    """
    config = read_config(folder)
    state = read_state(folder) if (folder / "state.json").exists() else None
    ended = state.finished[-1].ended if state is not None and state.finished else None
    return Run(
        folder=folder,
        config=config,
        config_text=(folder / CONFIG_FILE).read_text(encoding="utf-8"),
        state=state,
        trained=None if ended is None else datetime.fromisoformat(ended),
        metrics=_read_metrics(folder / METRICS_FILE),
        rounds=_read_rounds(folder / "rounds.json"),
        curves=logged_curves(folder) if any(folder.glob(LOG_FILES)) else {},
        scores=read_scores(folder / SCORES_FILE),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved configuration of the run in ``folder``, with a plan that makes sense.

    Raises:
        ConfigurationError: ``folder`` is no run directory, or its configuration is damaged.
    """
    file = folder / CONFIG_FILE
    if not file.is_file():
        raise ConfigurationError(
            f"{folder}: is no run directory, for it has no {CONFIG_FILE}. Give a directory that "
            "train.py made, such as runs/quickstart."
        )
    try:
        config = OmegaConf.to_container(OmegaConf.load(file))
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{file}: can't be read as YAML: {error}") from error
    if not isinstance(config, dict) or "plan" not in config or "stage" not in config:
        raise ConfigurationError(
            f"{file}: names no plan and no stages, so it is no configuration of a run. Give a directory that "
            "train.py made, such as runs/quickstart."
        )
    try:
        expand_plan(config["plan"])
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from error
    return {str(key): value for key, value in config.items()}


def _read_metrics(file: Path) -> dict[str, Any] | None:
    metrics = _read_json(file)
    if metrics is None:
        return None
    protocol = metrics.get("protocol") if isinstance(metrics, dict) else None
    if not isinstance(protocol, dict) or not {"name", "description"} <= protocol.keys():
        raise ConfigurationError(
            f"{file}: names no protocol, without which its figures say nothing. Give the command that "
            "trained the run again: it measures anew."
        )
    return dict(metrics)


def _read_rounds(file: Path) -> list[Mapping[str, Any]]:
    rounds = _read_json(file)
    if rounds is None:
        return []
    if not isinstance(rounds, list) or not all(isinstance(row, dict) and "stage" in row for row in rounds):
        raise ConfigurationError(
            f"{file}: expected a list of rows with a stage each. Give the command that trained the run "
            "again: it measures anew."
        )
    return list(rounds)


def _read_json(file: Path) -> Any:
    """The file's content; None where there is no file."""
    if not file.exists():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(
            f"{file}: is damaged ({error}). Give the command that trained the run again: it measures anew. "
            "Or remove the file, and the report goes without."
        ) from error

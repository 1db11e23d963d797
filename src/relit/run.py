"""A run at work: what its stages, and what comes after them, have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import Strategy

from relit.loggers import RunLogger
from relit.plan import PlannedStage
from relit.processes import world_size
from relit.pruning import Trial
from relit.run_state import RunState
from relit.stage_data import StageData
from relit.stop_signals import StopSignals
from relit.weights import WEIGHTS_FILE


@dataclass(frozen=True)
class Run:
    """One run in one process.

    Attributes:
        config: the resolved configuration as plain containers.
        run_dir: the run's directory.
        plan: its stages in order.
        state: what is finished; grows stage by stage.
        strategy: Lightning's, by which the processes of the run talk.
        logger: of all stages, or None.
        signals: those that end the run.
        clip: the frozen CLIPs by role.
        data: the stages' data modules.
        trial: the run as one of a sweep's, or None.
    """

    config: dict[str, Any]
    run_dir: Path
    plan: list[PlannedStage]
    state: RunState
    strategy: Strategy
    logger: RunLogger | None
    signals: StopSignals
    clip: Mapping[str, Any]
    data: StageData
    trial: Trial | None = None

    @property
    def processes(self) -> int:
        """How many train together."""
        return world_size(self.strategy)

    def settings_of(self, planned: PlannedStage) -> dict[str, Any]:
        """The node of a stage of the plan."""
        settings: dict[str, Any] = self.config["stage"][planned.name]
        return settings

    def folder(self, planned: PlannedStage) -> Path:
        """Where a stage's files lie."""
        return self.run_dir / "stages" / planned.folder

    def weights_file(self, planned: PlannedStage) -> Path:
        """All weights that are handed over when the stage is done."""
        return self.folder(planned) / WEIGHTS_FILE

"""The plan of a run: which stages, in which order, in which round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relit.errors import ConfigurationError


@dataclass(frozen=True)
class PlannedStage:
    """One place in the expanded plan.

    Attributes:
        name: the key under ``stage`` that configures it.
        index: place in the list, from 1.
        count: length of the list.
        round: 1-based number of the repetition it belongs to; 0 outside any ``repeat``.
    """

    name: str
    index: int
    count: int
    round: int

    @property
    def folder(self) -> str:
        """Name of the stage's folder below ``stages/``, such as ``3-enhancement``."""
        return f"{self.index}-{self.name}"

    @property
    def title(self) -> str:
        """What people see, such as ``3/7 enhancement``."""
        return f"{self.index}/{self.count} {self.name}"


def expand_plan(plan: Sequence[str | Mapping[str, Any]] | None) -> list[PlannedStage]:
    """Write out every ``{repeat: R, stages: [...]}`` of ``plan`` and number stages and rounds.

    Rounds count on through several ``repeat`` entries; ``repeat: 0`` leaves its stages out.

    Raises:
        ConfigurationError: the plan is missing, empty or holds what is neither a name nor a repetition.
    """
    if not plan:
        raise ConfigurationError("plan: no stage to train. Choose a run, such as experiment=quickstart.")
    named: list[tuple[str, int]] = []
    rounds = 0
    for place, entry in enumerate(plan):
        if isinstance(entry, str):
            named.append((entry, 0))
            continue
        stages, repeat = _repetition(entry, f"plan[{place}]")
        for _ in range(repeat):
            rounds += 1
            named.extend((stage, rounds) for stage in stages)
    if not named:
        raise ConfigurationError("plan: every entry has repeat: 0, so there is no stage to train.")
    count = len(named)
    return [PlannedStage(name, index, count, round_) for index, (name, round_) in enumerate(named, start=1)]


def _repetition(entry: object, key: str) -> tuple[list[str], int]:
    if not isinstance(entry, Mapping) or set(entry) != {"repeat", "stages"}:
        raise ConfigurationError(
            f"{key}: expected a stage's name or {{repeat: R, stages: [names]}}, found {entry!r}."
        )
    repeat, stages = entry["repeat"], list(entry["stages"] or [])
    if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 0:
        raise ConfigurationError(f"{key}.repeat: expected a whole number of rounds >= 0, found {repeat!r}.")
    if not stages or not all(isinstance(stage, str) for stage in stages):
        raise ConfigurationError(f"{key}.stages: expected a list of stage names, found {stages!r}.")
    return stages, repeat

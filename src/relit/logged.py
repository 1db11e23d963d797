"""What a run logged, read back from its CSV files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from relit.errors import ConfigurationError

Curve = dict[int, float]
"""Values by step of the whole run, ascending."""

LOG_FILES = "logs/version_*/metrics.csv"
"""Below the run directory, one for each sitting."""

VALIDATION = "val"
"""What stages are judged by while they train is logged as ``val/metric``, theirs as ``stage/term``."""


def logged_curves(run_dir: Path) -> dict[str, Curve]:
    """Every metric that the run's CSV logger wrote, by name.

    A run that was killed and resumed has one file for each sitting. A later sitting begins at a checkpoint,
    so what an earlier one logged from there on is replaced.

    Raises:
        ConfigurationError: the run has no such files, or one of them is damaged.
    """
    found = (file for file in run_dir.glob(LOG_FILES) if file.parent.name[8:].isdecimal())
    files = sorted(found, key=lambda file: int(file.parent.name[8:]))
    if not files:
        raise ConfigurationError(
            f"{run_dir}: has no {LOG_FILES}, so there are no curves to draw. Give the "
            "directory of a run that was made with logger=csv."
        )
    curves: dict[str, Curve] = {}
    for file in files:
        sitting = _sitting(file)
        begin = min((step for curve in sitting.values() for step in curve), default=None)
        if begin is None:
            continue
        curves = {name: {s: v for s, v in curve.items() if s < begin} for name, curve in curves.items()}
        for name, curve in sitting.items():
            curves.setdefault(name, {}).update(curve)
    return {name: curve for name, curve in curves.items() if curve}


def by_stage(logs: Sequence[dict[str, Curve]]) -> dict[str, list[str]]:
    """Names of what was logged, by stage in the order of training; :data:`VALIDATION` stands last."""
    names = sorted({name for log in logs for name in log if "/" in name})
    first = {name: min(min(log[name]) for log in logs if name in log) for name in names}
    stages: dict[str, list[str]] = {}
    for name in names:
        stages.setdefault(name.partition("/")[0], []).append(name)
    order = sorted(stages, key=lambda of: (of == VALIDATION, min(first[name] for name in stages[of])))
    return {stage: stages[stage] for stage in order}


def _sitting(file: Path) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    # a line without an end was cut off when the run was killed
    whole = [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    for row in csv.DictReader(whole):
        for name, value in row.items():
            if name not in ("step", "epoch") and value:
                try:
                    curves.setdefault(name, {})[int(row["step"])] = float(value)
                except (KeyError, TypeError, ValueError) as error:
                    raise ConfigurationError(
                        f"{file}: {name} of step {row.get('step')} is no number: {value!r}. Restore the "
                        "file, or move it away."
                    ) from error
    return curves

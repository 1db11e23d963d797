"""What a run logged, read back from its CSV files."""

from __future__ import annotations

import csv
from pathlib import Path

from relit.errors import ConfigurationError

Curve = dict[int, float]
"""Values by step of the whole run, ascending."""


def logged_curves(run_dir: Path) -> dict[str, Curve]:
    """Every metric that the run's CSV logger wrote, by name.

    A run that was killed and resumed has one file for each sitting. A later sitting begins at a checkpoint,
    so what an earlier one logged from there on is replaced.

    Raises:
        ConfigurationError: the run has no such files.
    """
    files = sorted(run_dir.glob("logs/version_*/metrics.csv"), key=lambda file: int(file.parent.name[8:]))
    if not files:
        raise ConfigurationError(
            f"{run_dir}: has no logs/version_*/metrics.csv, so there are no curves to draw. Give the "
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


def _sitting(file: Path) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    # a line without an end was cut off when the run was killed
    whole = [line for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    for row in csv.DictReader(whole):
        for name, value in row.items():
            if name not in ("step", "epoch") and value:
                curves.setdefault(name, {})[int(row["step"])] = float(value)
    return curves

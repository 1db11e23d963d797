"""Loss curves of each stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from relit.errors import ConfigurationError
from relit.logged import VALIDATION, Curve, by_stage, logged_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SMOOTH = 0.9
"""Weight of the past in the drawn running mean."""


def losses(runs: Sequence[Path]) -> Figure:
    """Loss curves: a panel for each stage, a colour for each term, a line for each run (the seeds, say).

    Lines are running means; faint behind a single run stands what was logged.

    Raises:
        ConfigurationError: a run has no CSV log, or none of them logged a loss.
    """
    from matplotlib.figure import Figure

    logs = [logged_curves(run) for run in runs]
    stages = by_stage(logs)
    stages.pop(VALIDATION, None)
    if not stages:
        raise ConfigurationError(f"{runs[0]}: no stage has logged a loss yet.")
    figure = Figure(figsize=(4.6 * len(stages), 3.6), layout="constrained")
    axes = figure.subplots(1, len(stages), squeeze=False)[0]
    for panel, (stage, terms) in zip(axes, stages.items(), strict=True):
        _panel(panel, stage, terms, logs)
    return figure


def _panel(panel: Axes, stage: str, terms: Sequence[str], logs: Sequence[dict[str, Curve]]) -> None:
    for place, term in enumerate(terms):
        colour, label = f"C{place}", term.partition("/")[2]
        for log in logs:
            steps, values = list(log.get(term, {})), list(log.get(term, {}).values())
            if len(logs) == 1:
                panel.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
            panel.plot(steps, running_mean(values), color=colour, label=label, linewidth=1.4)
            label = "_"  # one entry in the legend for all runs
    panel.set(title=stage.replace("_", " "), xlabel="step")
    if all(value > 0 for log in logs for term in terms for value in log.get(term, {}).values()):
        panel.set_yscale("log")
    panel.grid(alpha=0.3, which="both")
    panel.legend()


def running_mean(values: Sequence[float]) -> list[float]:
    """Exponential means of what came so far, the first values not counted more than the later ones."""
    means, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = _SMOOTH * total + value, _SMOOTH * weight + 1
        means.append(total / weight)
    return means

"""Loss curves of each stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from relit.curves import LINEAR, SMOOTHED_FROM, by_unit, pieces, running_mean, spans_decades, term
from relit.errors import ConfigurationError
from relit.logged import VALIDATION, by_stage, logged_curves
from relit.measures import measure
from relit.report.run import Run, read_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def losses(runs: Sequence[Path]) -> Figure:
    """Loss curves: a column for each stage, a colour for each term, a line for each run (the seeds, say).

    What is no loss (accuracy, PSNR, S) has panels of its own below. Long lines are running means; faint
    behind a single run stands what was logged. Where another stage was trained in between, a line breaks.

    Raises:
        ConfigurationError: a run has no CSV log, or none of them logged a loss.
    """
    from matplotlib.figure import Figure

    found = [_logged(run) for run in runs]
    logs = [run.curves for run in found]
    stages = by_stage(logs)
    stages.pop(VALIDATION, None)
    if not stages:
        raise ConfigurationError(_nothing(found[0]))
    columns = {stage: by_unit(names, logs) for stage, names in stages.items()}
    rows = max(len(units) for units in columns.values())
    figure = Figure(figsize=(4.6 * len(columns), 3.0 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for (stage, units), panels in zip(columns.items(), axes.T, strict=True):
        for panel, (unit, names) in zip(panels, units.items(), strict=False):
            _panel(panel, unit, names, found)
        panels[0].set_title(stage.replace("_", " "))
        panels[len(units) - 1].set_xlabel("step")
        for panel in panels[len(units) :]:
            panel.remove()
    return figure


def _logged(folder: Path) -> Run:
    run = read_run(folder)
    if not run.curves:
        logged_curves(folder)  # tells a run without a CSV log from one that logged nothing yet
    return run


def _nothing(run: Run) -> str:
    every = (run.config.get("trainer") or {}).get("log_every_n_steps")
    done, planned = run.stages
    said = f"{run.folder}: no stage has logged a loss yet: each logs every {every} steps"
    if done < planned:
        return f"{said} (trainer.log_every_n_steps). Wait, or train with a smaller number."
    return (
        f"{said} of its own (trainer.log_every_n_steps), and none was that long. Train again with "
        "trainer.log_every_n_steps=1 and fresh=true, or another name."
    )


def _panel(panel: Axes, unit: str, names: Sequence[str], runs: Sequence[Run]) -> None:
    from matplotlib.ticker import MaxNLocator

    for place, name in enumerate(names):
        colour, label = f"C{place}", term(name).replace("_", " ")
        for run in runs:
            if name in run.curves:
                _line(panel, name, run, colour, label, faint=len(runs) == 1)
                label = "_"  # one entry in the legend for all runs
    values = [value for run in runs for name in names for value in run.curves.get(name, {}).values()]
    if unit not in LINEAR and spans_decades(values):
        panel.set_yscale("log")
    panel.set_ylabel(measure(unit).head)
    panel.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    panel.grid(alpha=0.3, which="both")
    if [term(name) for name in names] != [unit]:
        # beside the panel, where no line ends
        panel.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)


def _line(panel: Axes, name: str, run: Run, colour: str, label: str, faint: bool) -> None:
    """One term of one run: a line for each piece, a dot where a piece is a single point."""
    smoothed = len(run.curves[name]) >= SMOOTHED_FROM
    for piece in pieces(name, run.curves[name], run.boundaries):
        steps, values = list(piece), list(piece.values())
        marker = "o" if len(piece) == 1 else ""
        if smoothed and faint:
            panel.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
        drawn = running_mean(values) if smoothed else values
        panel.plot(steps, drawn, color=colour, label=label, linewidth=1.4, marker=marker, markersize=5)
        label = "_"

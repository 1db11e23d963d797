"""The page itself: what is known of the runs, put into the template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from relit.atomic import atomic_write
from relit.measures import NOTHING, in_order, measure
from relit.report import curves, distributions
from relit.report.run import Run, read_run
from relit.report.samples import samples_of
from relit.report.tables import cell, compared, figures_of, kinds_of, photographs_of, rounds_of
from relit.run_settings import binding_settings

PAGE_FILE = "report.html"

_RESERVED = ("input", "result", "reference")


def write_page(folders: Sequence[Path], output: Path) -> None:
    """Write one self-contained HTML file about a run, or one that compares several.

    Args:
        folders: run directories.
        output: the file; replaced if it exists.

    Raises:
        ConfigurationError: a folder is no run directory, or a file in it is damaged.
    """
    atomic_write(output, page([read_run(folder) for folder in folders]).encode(errors="backslashreplace"))


def page(runs: Sequence[Run]) -> str:
    """The page as text: the same for the same runs, and without any reference to another file."""
    named = list(zip(_labels(runs), runs, strict=True))
    samples, faults = samples_of(named)
    template = _environment().get_template("page.html.j2")
    return template.render(
        title=runs[0].name if len(runs) == 1 else f"{len(runs)} runs compared",
        runs=[_about(label, run) for label, run in named],
        protocols=_protocols(runs),
        compared=compared(named) if len(runs) > 1 else [],
        charts=curves.charts_of(named),
        samples=samples,
        distributions=distributions.distributions_of(
            [(label, run.scores) for label, run in named if run.scores]
        ),
        differences=_differences(named) if len(runs) > 1 else [],
        missing=[
            f"{label}: {lack}" if len(runs) > 1 else lack for label, run in named for lack in _missing(run)
        ]
        + faults,
        curve_size=curves,
        strip_size=distributions,
    )


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("relit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _labels(runs: Sequence[Run]) -> list[str]:
    """The runs' names, or their folders where names do not tell them apart."""
    counted = Counter(run.name for run in runs)
    return [str(run.folder) if counted[run.name] > 1 or run.name in _RESERVED else run.name for run in runs]


def _about(label: str, run: Run) -> dict[str, Any]:
    """What the template shows of one run."""
    done, planned = run.stages
    return {
        "label": label,
        "method": run.method,
        "seed": run.config.get("seed"),
        "date": "unknown" if run.trained is None else f"{run.trained:%Y-%m-%d %H:%M} UTC",
        "steps": f"{run.steps:,}",
        "stages": f"{done} of {planned} stages",
        "result": _result(run),
        "figures": None if run.metrics is None else figures_of(run.metrics),
        "rounds": rounds_of(run.rounds) if run.rounds else None,
        "configuration": run.config_text,
    }


def _result(run: Run) -> str:
    """The run in one line: from input to result, by which protocol."""
    if run.metrics is None:
        return "No figures yet."
    kinds = kinds_of(run.metrics)
    given, result = kinds.get("input", {}), kinds.get("result", {})
    changes = [
        f"{measure(metric).head} {cell(given, metric, metric).text} → {cell(result, metric, metric).text}"
        for metric in in_order(set(result))
    ]
    measured = f"{photographs_of(run.metrics)}, protocol {run.metrics['protocol']['name']}"
    return f"{', '.join(changes) or 'No result was measured'}; {measured}."


def _protocols(runs: Sequence[Run]) -> dict[str, str]:
    protocols = [run.metrics["protocol"] for run in runs if run.metrics is not None]
    return {protocol["name"]: protocol["description"] for protocol in protocols}


def _missing(run: Run) -> list[str]:
    """What a page about this run can not show, and why."""
    done, planned = run.stages
    lacks = []
    if done < planned:
        lacks.append(
            f"The run is not finished: {done} of {planned} stages are done. The command that began it "
            "continues it."
        )
    if run.metrics is None:
        lacks.append("There is no metrics.json: the run has not measured any figures.")
    if not run.samples:
        lacks.append("There are no sample photographs in samples/.")
    if not run.curves:
        lacks.append("There are no training curves: nothing was logged as CSV (logger=csv).")
    return lacks


def _differences(named: Sequence[tuple[str, Run]]) -> list[tuple[str, list[str]]]:
    """Settings that define what is learned and are not the same in all runs: key, and each run's value."""
    settings = [binding_settings(run.config) for _, run in named]
    keys = sorted({key for of_run in settings for key in of_run})
    rows = [(key, [str(of_run.get(key, NOTHING)) for of_run in settings]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]

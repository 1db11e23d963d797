"""What a study has found: ``trials.csv``, and a few lines at a worker's end."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from relit.atomic import atomic_write
from relit.sweep.search_space import as_text
from relit.sweep.study import DEATHS, REASON, WORKER, last_trials, standing

TABLE_FILE = "trials.csv"

_WORDS = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "given up",
    TrialState.FAIL: "failed",
}


def write_table(study: optuna.Study, folder: Path) -> Path:
    """Write one row for each run, with its values, how it ended, by whom and why it failed; return the file.

    The value of a run that was given up is the last one it reported.
    """
    runs = sorted(last_trials(study).items())
    keys = sorted({key for _, trial in runs for key in trial.params})
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["run", "state", "value", *keys, "worker", "reason"])
    for run, trial in runs:
        value = "" if trial.value is None else repr(trial.value)
        drawn = [as_text(trial.params[key]) if key in trial.params else "" for key in keys]
        worker = trial.user_attrs.get(WORKER, "")
        table.writerow([run, _WORDS[trial.state], value, *drawn, worker, _reason(trial)])
    path = folder / TABLE_FILE
    atomic_write(path, text.getvalue().encode())
    return path


def summary(study: optuna.Study, folder: Path, monitor: str) -> str:
    """Counts, and the best run with the overrides that it drew."""
    found = standing(study)
    counts = {
        "complete": found.complete,
        "given up": found.pruned,
        "failed": found.failed,
        "running elsewhere": found.running,
        "waiting": found.waiting,
    }
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    lines = [f"study {study.study_name}: {found.begun} runs: {said}"]
    complete = {run: trial for run, trial in last_trials(study).items() if trial.state is TrialState.COMPLETE}
    if complete:
        best_of = max if study.direction is optuna.study.StudyDirection.MAXIMIZE else min
        run = best_of(complete, key=lambda run: complete[run].value or 0.0)
        drawn = " ".join(f"{key}={as_text(value)}" for key, value in complete[run].params.items())
        lines += [f"best: {monitor} {complete[run].value:.6g} in {folder / str(run)}", f"  {drawn}"]
    if found.running:
        lines.append(
            "if the worker of a running one is gone, the same command goes on with it once its signs of life "
            "have stopped"
        )
    return "\n".join(lines)


def _reason(trial: FrozenTrial) -> str:
    if trial.state is not TrialState.FAIL:
        return ""
    died = trial.user_attrs.get(DEATHS, 0) + 1
    return str(trial.user_attrs.get(REASON, f"its worker died, {died} times in all"))

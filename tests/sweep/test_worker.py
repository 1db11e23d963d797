"""A worker: how runs end, what is noted of it, who goes on with what, when it is done."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

optuna = pytest.importorskip("optuna")

from hydra.core.override_parser.overrides_parser import OverridesParser  # noqa: E402
from hydra.core.utils import JobReturn, JobStatus  # noqa: E402
from optuna.trial import TrialState  # noqa: E402
from slurm_task import slurm_task  # noqa: E402
from toy_regression import toy_config  # noqa: E402
from toy_sampler import BrokenSampler  # noqa: E402

from relit.atomic import DiskFull  # noqa: E402
from relit.errors import ConfigurationError, TrainingFailed, TrialPruned, TrialTakenOver  # noqa: E402
from relit.run_lock import LOCK_FILE, RunLock  # noqa: E402
from relit.stages import run_stages  # noqa: E402
from relit.stop_signals import Stopped  # noqa: E402
from relit.sweep.search_space import read_space  # noqa: E402
from relit.sweep.study import Standing, ask, last_trials, open_study, run_again, standing  # noqa: E402
from relit.sweep.table import summary, write_table  # noqa: E402
from relit.sweep.worker import Worker  # noqa: E402

Ending = Callable[[float, int], Any]
"""From x and the run's number to its value, or an exception."""


def quadratic(x: float, run: int) -> float:
    """Greatest at 0.3."""
    return -((x - 0.3) ** 2)


def worker(
    folder: Path,
    ending: Ending = quadratic,
    runs: int = 4,
    among: str = "interval(0,1)",
    sampler: Any = None,
) -> Worker:
    """One whose runs end as ``ending`` says; BaseExceptions that are none of a job's leave the launcher."""
    study, storage = open_study(
        "study",
        f"sqlite:///{folder}/study.db",
        "maximize",
        sampler or optuna.samplers.TPESampler(seed=0, n_startup_trials=4),
        optuna.pruners.NopPruner(),
        heartbeat=30,
        grace=90,
        reruns=2,
    )
    space = read_space(OverridesParser.create().parse_overrides([f"x={among}", "seed=1"]))

    def launch(overrides: list[str], run: int, trial_id: int) -> JobReturn:
        assert overrides[0] == "seed=1"
        job = JobReturn()
        try:
            job.return_value = ending(float(overrides[1].removeprefix("x=")), run)
            job.status = JobStatus.COMPLETED
        except (OSError, MemoryError):
            raise
        except Exception as error:
            job.return_value = error
            job.status = JobStatus.FAILED
        return job

    def note() -> None:
        write_table(study, folder)

    return Worker(study, storage, space, launch, folder, runs, patience=0, on_change=note)


@contextlib.contextmanager
def holder_of(run_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the run in ``run_dir``."""
    run_dir.mkdir(parents=True)
    script = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); "
        "print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(run_dir / LOCK_FILE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.terminate()


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "trials.csv").open()))


def test_as_many_runs_as_asked_for_and_the_best_is_told(tmp_path: Path) -> None:
    one = worker(tmp_path, runs=20)
    one.work()
    assert standing(one.study) == Standing(waiting=0, running=0, complete=20, pruned=0, failed=0)
    rows = table(tmp_path)
    assert [row["run"] for row in rows] == [str(run) for run in range(20)]
    for row in rows:
        assert float(row["value"]) == quadratic(float(row["x"]), 0)
    best = max(rows, key=lambda row: float(row["value"]))
    assert abs(float(best["x"]) - 0.3) < 0.1
    said = summary(one.study, Path("runs/a"), "val/psnr")
    assert f"in runs/a/{best['run']}\n  x={best['x']}" in said
    assert "20 complete" in said


def test_another_worker_has_nothing_left_to_do_and_more_runs_can_be_asked_for(tmp_path: Path) -> None:
    worker(tmp_path, runs=2).work()

    def never(x: float, run: int) -> float:
        raise AssertionError("there is no run left")

    worker(tmp_path, never, runs=2).work()
    later = worker(tmp_path, runs=3)
    later.work()
    assert standing(later.study).complete == 3


def test_failed_runs_are_noted_and_the_others_go_on(tmp_path: Path) -> None:
    def ending(x: float, run: int) -> Any:
        if run == 1:
            raise ConfigurationError("data.crop: too large")
        if run == 2:
            raise TrainingFailed("the loss of step 3 is nan")
        if run == 3:
            raise RuntimeError("no memory left")
        if run == 4:
            raise OSError("the job was lost")  # by the launcher itself
        return math.nan if run == 5 else None if run == 6 else x

    one = worker(tmp_path, ending, runs=8)
    one.work()
    assert standing(one.study) == Standing(waiting=0, running=0, complete=2, pruned=0, failed=6)
    rows = table(tmp_path)
    assert [row["state"] for row in rows] == ["complete", *["failed"] * 6, "complete"]
    assert rows[1]["reason"] == "data.crop: too large"
    assert rows[2]["reason"] == "the loss of step 3 is nan"
    assert rows[3]["reason"].startswith("RuntimeError: no memory left (see ")
    assert "no memory left" in (tmp_path / "3" / "traceback.txt").read_text()
    assert rows[4]["reason"].startswith("OSError: the job was lost")
    assert "nan" in rows[5]["reason"]
    assert "None" in rows[6]["reason"]
    assert rows[7]["reason"] == ""


def test_a_mistake_before_anything_worked_ends_the_worker(tmp_path: Path) -> None:
    def ending(x: float, run: int) -> Any:
        raise ConfigurationError("data.backlit: no such folder")

    one = worker(tmp_path, ending)
    with pytest.raises(SystemExit) as ended:
        one.work()
    assert ended.value.code == 2
    assert standing(one.study).begun == 1


def test_runs_that_are_given_up_keep_their_last_value(tmp_path: Path) -> None:
    def ending(x: float, run: int) -> Any:
        if run == 1:
            one.study._storage.set_trial_intermediate_value(one.study.trials[1]._trial_id, 10, 0.125)
            raise TrialPruned("val/psnr is 0.125 at step 10")
        return x

    one = worker(tmp_path, ending, runs=3)
    one.work()
    assert standing(one.study) == Standing(waiting=0, running=0, complete=2, pruned=1, failed=0)
    row = table(tmp_path)[1]
    assert (row["state"], row["value"], row["reason"]) == ("given up", "0.125", "")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit(143)])
def test_an_interrupted_run_goes_on_first_in_its_own_directory(tmp_path: Path, stop: Any) -> None:
    seen: list[tuple[int, float]] = []

    def interrupted(x: float, run: int) -> float:
        seen.append((run, x))
        if run == 1:
            raise stop
        return x

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        worker(tmp_path, interrupted).work()

    def goes_on(x: float, run: int) -> float:
        seen.append((run, x))
        return x

    again = worker(tmp_path, goes_on)
    again.work()
    assert [run for run, _ in seen] == [0, 1, 1, 3, 4]  # trial 2 is run 1 again
    assert seen[1] == seen[2]
    assert standing(again.study) == Standing(waiting=0, running=0, complete=4, pruned=0, failed=0)
    assert [row["run"] for row in table(tmp_path)] == ["0", "1", "3", "4"]


def test_a_run_is_given_back_before_the_job_is_queued_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster may end the job at that moment. ``scontrol`` notes what the study holds then."""
    look = f"""{sys.executable} -c 'import sqlite3
with sqlite3.connect("{tmp_path}/study.db") as study:
    print(*study.execute("SELECT state FROM trials ORDER BY number"))'"""
    slurm_task(tmp_path, monkeypatch, f'(echo "$@"; {look}) >> {tmp_path}/scontrol.txt')

    def ending(x: float, run: int) -> float:
        module = {"interrupt": "SIGUSR1", "interrupt_at": 3, "interrupt_stage": 1}
        changes = {f"stage__first__module__{key}": value for key, value in module.items()}
        cfg = toy_config(tmp_path / str(run), rounds=0, logger=None, **changes)
        return run_stages(cfg)["toy/distance"]

    one = worker(tmp_path, ending, runs=1)
    with pytest.raises(Stopped) as stopped:
        one.work()
    assert stopped.value.code == 128 + signal.SIGUSR1
    assert (tmp_path / "scontrol.txt").read_text() == "requeue 7\n('FAIL',) ('WAITING',)\n"
    # the job again
    one.work()
    assert standing(one.study) == Standing(waiting=0, running=0, complete=1, pruned=0, failed=0)
    steps = [json.loads(line)["step"] for line in (tmp_path / "0" / "seen-0.jsonl").read_text().splitlines()]
    assert steps == list(range(12))


def test_a_signal_between_two_runs_loses_none(tmp_path: Path) -> None:
    def ending(x: float, run: int) -> float:
        if run == 1 and len(one.study.trials) == 2:
            # as while the launcher composes the run, or waits for a cluster's job
            os.kill(os.getpid(), signal.SIGTERM)
        return x

    before = signal.getsignal(signal.SIGTERM)
    one = worker(tmp_path, ending, runs=2)
    with pytest.raises(Stopped):
        one.work()
    assert signal.getsignal(signal.SIGTERM) == before
    assert standing(one.study) == Standing(waiting=1, running=0, complete=1, pruned=0, failed=0)
    one.work()
    assert standing(one.study).complete == 2


def test_a_full_disk_ends_the_worker_and_the_run_goes_on_later(tmp_path: Path) -> None:
    one = worker(tmp_path, runs=2)
    launch, full = one.launch, DiskFull(errno.ENOSPC, "no space left to write this file", "last.ckpt")
    one.launch = lambda *_: JobReturn(status=JobStatus.FAILED, _return_value=full)
    with pytest.raises(SystemExit) as ended:
        one.work()
    assert ended.value.code == 1
    assert standing(one.study) == Standing(waiting=1, running=0, complete=0, pruned=0, failed=0)
    one.launch = launch
    one.work()
    assert standing(one.study).complete == 2


def test_a_signal_that_comes_while_a_trial_is_asked_for_leaves_it_to_others(tmp_path: Path) -> None:
    class Signalled(optuna.samplers.RandomSampler):
        def before_trial(self, *arguments: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    one = worker(tmp_path, sampler=Signalled())
    with pytest.raises(Stopped):
        one.work()
    assert standing(one.study) == Standing(waiting=1, running=0, complete=0, pruned=0, failed=0)


class SignalledTrial:
    """A signal comes while it is judged, and then it is given up."""

    def give_up(self, step: int, value: float) -> bool:
        os.kill(os.getpid(), signal.SIGUSR1)
        return True

    def taken_over(self) -> bool:
        return False


def test_a_signal_to_a_run_that_is_then_given_up_ends_the_worker(tmp_path: Path) -> None:
    def ending(x: float, run: int) -> float:
        cfg = toy_config(tmp_path / str(run), rounds=0, logger=None, monitor="val/error")
        cfg.stage.first = {**cfg.stage.first, "validate_every": 4}
        return run_stages(cfg, SignalledTrial())["val/error"]

    one = worker(tmp_path, ending)
    with pytest.raises(Stopped) as stopped:
        one.work()
    assert stopped.value.code == 128 + signal.SIGUSR1
    assert standing(one.study) == Standing(waiting=0, running=0, complete=0, pruned=1, failed=0)


def test_a_worker_that_its_sampler_fails_leaves_no_trial_at_work(tmp_path: Path) -> None:
    one = worker(tmp_path, sampler=BrokenSampler())
    with pytest.raises(ValueError, match="too many values"):
        one.work()
    assert standing(one.study) == Standing(waiting=0, running=0, complete=0, pruned=0, failed=1)
    assert one.study.trials[0].user_attrs["reason"] == "ValueError: too many values to unpack"


def test_a_grid_is_tried_to_its_end_though_a_run_is_interrupted(tmp_path: Path) -> None:
    def ending(x: float, run: int) -> float:
        if len(one.study.trials) == 1:
            raise KeyboardInterrupt
        return x

    def grid() -> Any:
        return optuna.samplers.GridSampler({"x": [0.1, 0.5]}, seed=0)

    one = worker(tmp_path, ending, runs=9, sampler=grid())
    with pytest.raises(KeyboardInterrupt):
        one.work()
    one = worker(tmp_path, ending, runs=9, sampler=grid())
    one.work()
    assert sorted(row["x"] for row in table(tmp_path)) == ["0.1", "0.5"]


def test_a_worker_waits_for_a_directory_in_use_and_makes_no_further_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relit.sweep.worker.LOOK_SECONDS", 0.01)
    asked: list[int] = []
    with holder_of(tmp_path / "0") as holder:

        def ending(x: float, run: int) -> float:
            asked.append(run)
            if asked == [0]:
                # it goes in a while, after this worker has looked a few times
                threading.Timer(0.2, holder.terminate).start()
            lock = RunLock(tmp_path / str(run))
            lock.acquire()
            lock.release()
            return x

        one = worker(tmp_path, ending, runs=2)
        one.work()
    assert asked == [0, 0, 1]
    assert len(one.study.trials) == 2
    assert standing(one.study) == Standing(waiting=0, running=0, complete=2, pruned=0, failed=0)


def test_a_worker_that_waits_leaves_a_run_that_is_taken_over_in_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relit.sweep.worker.LOOK_SECONDS", 0.01)

    def ending(x: float, run: int) -> float:
        if run == 0:
            one.study.tell(0, state=TrialState.FAIL)
            RunLock(tmp_path / "0").acquire()
        return x

    with holder_of(tmp_path / "0"):
        one = worker(tmp_path, ending, runs=2)
        one.work()
    assert standing(one.study) == Standing(waiting=0, running=0, complete=1, pruned=0, failed=1)


def test_a_worker_that_dies_while_it_gives_a_run_back_leaves_it_once(tmp_path: Path) -> None:
    one = worker(tmp_path)
    trial = ask(one.study)
    run_again(one.study, one.study.trials[0])
    # found dead by another worker, before it was told
    run_again(one.study, one.study.trials[0], deaths=1)
    one.study.tell(trial, state=TrialState.FAIL)
    assert standing(one.study) == Standing(waiting=1, running=0, complete=0, pruned=0, failed=0)
    assert len(one.study.trials) == 2


def test_the_last_run_that_two_workers_ask_for_is_run_once(tmp_path: Path) -> None:
    one = worker(tmp_path, runs=1)
    other = ask(one.study)  # between the first worker's look and its question
    one.take_one()
    assert set(last_trials(one.study)) == {other.number}
    one.study.tell(other, 0.5)
    one.work()
    assert standing(one.study) == Standing(waiting=0, running=0, complete=1, pruned=0, failed=0)


def taken(study: Any, number: int) -> None:
    """What another worker does when no sign of life of the trial gets through."""
    study.tell(number, state=TrialState.FAIL)
    run_again(study, study.trials[number], deaths=1)


@pytest.mark.parametrize("end", [0.5, RuntimeError("no memory left"), TrialTakenOver("at step 5")])
def test_however_a_run_ends_that_was_taken_over_its_heir_counts(tmp_path: Path, end: Any) -> None:
    seen: list[int] = []

    def ending(x: float, run: int) -> float:
        seen.append(run)
        if len(seen) == 1:
            taken(one.study, 0)
            if isinstance(end, Exception):
                raise end
            return float(end)
        return 0.25

    one = worker(tmp_path, ending, runs=1)
    one.work()
    assert seen == [0, 0]
    assert [trial.state.name for trial in one.study.trials] == ["FAIL", "COMPLETE"]
    assert [(row["run"], row["state"], row["value"]) for row in table(tmp_path)] == [
        ("0", "complete", "0.25")
    ]


def test_an_interrupted_run_that_was_taken_over_is_not_put_back_twice(tmp_path: Path) -> None:
    def ending(x: float, run: int) -> float:
        taken(one.study, 0)
        raise KeyboardInterrupt

    one = worker(tmp_path, ending)
    with pytest.raises(KeyboardInterrupt):
        one.work()
    assert [trial.state.name for trial in one.study.trials] == ["FAIL", "WAITING"]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sampler_that_has_tried_everything_ends_the_worker(tmp_path: Path) -> None:
    one = worker(tmp_path, runs=9, among="choice(0.1,0.5)", sampler=optuna.samplers.BruteForceSampler())
    one.work()
    assert sorted(row["x"] for row in table(tmp_path)) == ["0.1", "0.5"]
    assert standing(one.study).complete == 2

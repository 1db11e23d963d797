"""``train.py`` as a worker: two on one study, one of them killed; runs that fail or are given up."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from warm_start import ROOT, Running, start

optuna = pytest.importorskip("optuna")

pytestmark = pytest.mark.slow

TOYS = ROOT / "tests" / "toys"
COMMAND = (
    "-m", f"--config-dir={TOYS / 'conf'}", "sweep=optuna", "experiment=toy", "rounds=0", "logger=none",
    "monitor=val/error", "validate_every=4", "hydra.sweeper.direction=minimize",
)  # fmt: skip
RATE = "stage.first.module.lr"
BOTH_CHOICES = (
    "hydra.sweeper.sampler._target_=optuna.samplers.BruteForceSampler",
    "~hydra.sweeper.sampler.n_startup_trials",
    "~hydra.sweeper.sampler.constant_liar",
    "hydra.sweeper.runs=2",
)


def worker(cwd: Path, *overrides: str, **environment: str) -> Running:
    return start([*COMMAND, *overrides], cwd, environment)


def table(cwd: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((cwd / "runs" / "toy" / "trials.csv").open()))


def steps(run_dir: Path) -> list[int]:
    """Every step that was trained, in order, of all sittings."""
    return [json.loads(line)["step"] for line in (run_dir / "seen-0.jsonl").read_text().splitlines()]


def test_eight_runs_by_two_workers_of_which_one_is_killed_and_started_again(tmp_path: Path) -> None:
    space = (f"{RATE}=tag(log,interval(1e-3,1e-1))", "hydra.sweeper.runs=8")
    # nothing is given up here, and death is found soon
    liveness = (
        "hydra.sweeper.pruner.n_startup_trials=99",
        "hydra.sweeper.heartbeat=1",
        "hydra.sweeper.grace=20",
    )
    killed = worker(tmp_path, *space, *liveness, TOY_DIES_AT="8")
    lives = worker(tmp_path, *space, *liveness, TOY_PAUSE="1")
    assert killed.wait().status == -9
    again = worker(tmp_path, *space, *liveness, TOY_PAUSE="1")
    ended = [one.wait() for one in (lives, again)]
    assert [one.status for one in ended] == [0, 0], ended

    study = optuna.load_study(study_name="toy", storage=f"sqlite:///{tmp_path}/runs/toy/study.db")
    states = [trial.state.name for trial in study.trials]
    assert states.count("COMPLETE") == 8
    assert states.count("FAIL") == 1  # the dead worker's trial; its run is complete
    assert len(states) == 9
    dead = next(trial for trial in study.trials if trial.state.name == "FAIL")
    (heir,) = (trial for trial in study.trials if trial.user_attrs.get("run") == dead.number)
    assert heir.params == dead.params
    assert heir.user_attrs["deaths"] == 1

    rows = table(tmp_path)
    assert [row["state"] for row in rows] == ["complete"] * 8
    host = socket.gethostname()
    assert {row["worker"] for row in rows} == {f"{host}:{one.process.pid}" for one in (lives, again)}
    for row in rows:
        run_dir = tmp_path / "runs" / "toy" / row["run"]
        # the killed one went on at its checkpoint of step 5
        twice = [5, 6, 7] if int(row["run"]) == dead.number else []
        assert sorted(steps(run_dir)) == sorted([*range(12), *twice])
        state = json.loads((run_dir / "state.json").read_text())
        assert state["settings"][RATE] == float(row[RATE])
        assert state["finished"][0]["validated"]["val/error"] == float(row["value"])
    best = min(rows, key=lambda row: float(row["value"]))
    assert f"in runs/toy/{best['run']}" in ended[0].said or f"in runs/toy/{best['run']}" in ended[1].said
    nothing_left = worker(tmp_path, *space, *liveness).wait()
    assert nothing_left.status == 0
    assert "8 runs: 8 complete" in nothing_left.said
    assert table(tmp_path) == rows


def test_a_failed_run_is_noted_and_the_next_one_runs(tmp_path: Path) -> None:
    module = "stage.first.module"
    fails = (f"{module}.interrupt_at=choice(3,99)", f"{module}.interrupt=RuntimeError")
    found = worker(tmp_path, *fails, f"+{module}.interrupt_stage=1", *BOTH_CHOICES).wait()
    assert found.status == 0, found.said
    rows = {row["stage.first.module.interrupt_at"]: row for row in table(tmp_path)}
    assert rows["99"]["state"] == "complete"
    assert rows["3"]["state"] == "failed"
    assert rows["3"]["reason"].startswith("RuntimeError")
    kept = tmp_path / "runs" / "toy" / rows["3"]["run"] / "traceback.txt"
    assert "interrupt" in kept.read_text()
    assert "1 complete, 1 failed" in found.said


def test_a_run_that_does_worse_is_given_up(tmp_path: Path) -> None:
    pruner = "hydra.sweeper.pruner.n_startup_trials=1"
    good = worker(tmp_path, f"{RATE}=interval(0.04,0.06)", "hydra.sweeper.runs=1", pruner).wait()
    assert good.status == 0, good.said
    bad = worker(tmp_path, f"{RATE}=interval(1e-6,2e-6)", "hydra.sweeper.runs=2", pruner).wait()
    assert bad.status == 0, bad.said
    first, second = table(tmp_path)
    assert (first["state"], second["state"]) == ("complete", "given up")
    assert float(second["value"]) > float(first["value"])
    assert steps(tmp_path / "runs" / "toy" / "1") == [0, 1, 2, 3]  # until the first validation
    assert "Traceback" not in bad.said


def test_a_run_that_a_launcher_starts_elsewhere_reports_to_the_study(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    cluster = ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5")
    paths = os.pathsep.join([str(ROOT / "src"), str(TOYS), os.environ.get("PYTHONPATH", "")])
    space = (f"{RATE}=interval(0.01,0.1)", "hydra.sweeper.runs=1")
    # an address that is to be kept, as one with a password is
    url = f"sqlite:///{tmp_path}/hush/study.db"
    kept = "hydra.sweeper.storage=${oc.env:RELIT_STORAGE}"
    found = worker(
        tmp_path, *space, *cluster, kept, "hydra.output_subdir=.hydra", PYTHONPATH=paths, RELIT_STORAGE=url
    ).wait()
    assert found.status == 0, found.said
    assert [row["state"] for row in table(tmp_path)] == ["complete"]
    assert list((tmp_path / "runs" / ".submitit").rglob("*_submitted.pkl"))
    assert list((tmp_path / "runs").rglob("overrides.yaml"))
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert [path for path in [*files, *tmp_path.glob("said-*")] if b"hush" in path.read_bytes()] == []
    study = optuna.load_study(study_name="toy", storage=url)
    (trial,) = study.trials
    assert list(trial.intermediate_values) == [4, 8, 12]
    assert trial.intermediate_values[12] == trial.value


def test_mistakes_end_the_worker_with_status_2(tmp_path: Path) -> None:
    for overrides, expected in (
        (("seed=1",), "there is nothing to search"),
        ((f"{RATE}r=interval(0,1)",), "Did you mean lr?"),
        ((f"{RATE}=interval(0,1)", "trainer.devices=2"), "CUDA_VISIBLE_DEVICES=0"),
        ((f"{RATE}=interval(0,1)", "monitor=val/psnr"), "Measured: toy/distance, val/error"),
        ((f"{RATE}=interval(0,1)", "hydra.sweeper.storage=nonsense"), "storage=nonsense"),
        ((f"{RATE}=interval(0,1)", "hydra.sweeper.storage=${oc.env:NOT_SET}"), "'NOT_SET' not found"),
    ):
        found = worker(tmp_path, *overrides).wait()
        assert found.status == 2, found.said
        assert expected in found.said
        assert "Traceback" not in found.said
        assert found.said.count("configuration error") == 1


def test_a_bug_of_a_sampler_is_no_mistake_in_the_configuration(tmp_path: Path) -> None:
    sampler = "hydra.sweeper.sampler"
    broken = (
        f"{sampler}._target_=toy_sampler.BrokenSampler",
        f"~{sampler}.n_startup_trials",
        f"~{sampler}.constant_liar",
    )
    found = worker(tmp_path, f"{RATE}=interval(0,1)", *broken).wait()
    assert found.status == 1, found.said
    assert "Traceback" in found.said
    assert "ValueError: too many values to unpack" in found.said
    assert "configuration error" not in found.said


def test_a_suspended_worker_leaves_its_run_to_the_one_that_took_it_over(tmp_path: Path) -> None:
    """Nothing is validated. The taker waits with one trial until the lock is free."""
    at_the_end = ("monitor=toy/distance", "validate_every=null", f"{RATE}=interval(0.01,0.1)")
    liveness = ("hydra.sweeper.heartbeat=1", "hydra.sweeper.grace=3", "hydra.sweeper.runs=1")
    suspended = worker(tmp_path, *at_the_end, *liveness, TOY_PAUSE="1")
    seen = tmp_path / "runs" / "toy" / "0" / "seen-0.jsonl"
    _until(seen.exists)
    assert suspended.process.pid is not None
    os.kill(suspended.process.pid, signal.SIGSTOP)
    try:
        taker = worker(tmp_path, *at_the_end, *liveness)
        _until(lambda: taker.log.exists() and "run 0: waits" in taker.log.read_text())
    finally:
        os.kill(suspended.process.pid, signal.SIGCONT)
    ended = [one.wait() for one in (suspended, taker)]
    assert [one.status for one in ended] == [0, 0], ended
    assert "run 0: left to the worker that has taken it over" in ended[0].said
    study = optuna.load_study(study_name="toy", storage=f"sqlite:///{tmp_path}/runs/toy/study.db")
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]
    assert steps(seen.parent) == list(range(12))
    (row,) = table(tmp_path)
    assert row["worker"].endswith(f":{taker.process.pid}")


def _until(due: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not due():
        assert time.monotonic() < end
        time.sleep(0.05)

"""Loggers: one step axis, W&B offline without a prompt and under one id."""

from __future__ import annotations

import csv
import importlib.util
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from compositions import composed, configurations
from toy_regression import toy_config
from wandb_records import Segment, finished_segment
from warm_start import ROOT, start

from relit.data.photo import write_png
from relit.errors import ConfigurationError
from relit.loggers import RunLogger, csv_logger, has_wandb_credentials, tensorboard_logger, wandb_logger
from relit.provenance import code_version
from relit.run_context import RunContext
from relit.run_state import read_state
from relit.stages import run_stages


@pytest.fixture
def no_wandb_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without credentials. Returns the netrc file that W&B would read."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    return tmp_path / "netrc"


def test_offset_is_added_to_each_step(tmp_path: Path) -> None:
    logger = RunLogger(csv_logger(tmp_path, "run", "id", {}))
    logger.log_metrics({"loss": 1.0}, step=3)
    logger.offset = 100
    logger.log_metrics({"loss": 2.0}, step=3)
    logger.log_metrics({"loss": 3.0})
    logger.finalize("success")
    logger.close(0)
    rows = list(csv.DictReader((tmp_path / "logs" / "version_0" / "metrics.csv").open()))
    assert [(float(row["loss"]), int(row["step"])) for row in rows] == [(1.0, 3), (2.0, 103), (3.0, 100)]


def test_each_sitting_writes_a_new_csv_file(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        logger = RunLogger(csv_logger(tmp_path, "run", "id", {}))
        logger.log_metrics({"loss": value}, step=0)
        logger.close(0)
    first = (tmp_path / "logs" / "version_0" / "metrics.csv").read_text()
    second = (tmp_path / "logs" / "version_1" / "metrics.csv").read_text()
    assert "1.0" in first
    assert "2.0" in second


def test_credentials_are_found_where_wandb_looks(
    no_wandb_account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not has_wandb_credentials()
    no_wandb_account.write_text("machine example.org login user password secret\n")
    assert not has_wandb_credentials()
    no_wandb_account.write_text("machine api.wandb.ai login user password secret\n")
    assert has_wandb_credentials()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not has_wandb_credentials()
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert has_wandb_credentials()


def test_damaged_netrc_is_no_key(no_wandb_account: Path) -> None:
    no_wandb_account.write_text("nonsense\n")
    with pytest.warns(UserWarning, match="not readable"):
        assert not has_wandb_credentials()


def test_online_without_a_key_is_refused_instead_of_asking(no_wandb_account: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="WANDB_API_KEY"):
        wandb_logger(tmp_path, "run", "id", {}, mode="online")
    with pytest.raises(ConfigurationError, match=r"logger\.mode"):
        wandb_logger(tmp_path, "run", "id", {}, mode="ofline")


def leave_results(context: RunContext) -> None:
    """What a method leaves at the end of a run."""
    write_png(context.run_dir / "samples" / "one.png", torch.full((3, 4, 6), 0.5))
    (context.run_dir / "weights.safetensors").write_bytes(b"weights")


def test_offline_segments_of_one_wandb_run(
    no_wandb_account: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the second of three stages and started again: what W&B wrote of it."""
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))
    run_dir = tmp_path / "runs" / "study" / "3"
    node = {"_target_": "relit.loggers.wandb_logger", "project": "relit-test"}
    node |= {"group": "study", "job_type": "trial"}
    cfg = toy_config(
        run_dir,
        runs=str(tmp_path / "runs"),
        logger=node,
        finish=[{"_target_": "toy_regression.report"}, {"_target_": f"{__name__}.leave_results"}],
        stage__second__module__interrupt_at=8,
    )
    with pytest.raises(SystemExit):  # of Lightning, for Ctrl-C
        run_stages(cfg)
    run_stages(cfg)
    folders = sorted((run_dir / "wandb").glob("offline-run-*"))
    segments = [finished_segment(folder) for folder in folders]
    run_id = read_state(run_dir).run_id
    assert len(segments) == 2
    for segment in segments:
        assert (segment.run.run_id, segment.run.display_name) == (run_id, "study/3")
        assert (segment.run.project, segment.run.run_group, segment.run.job_type) == (
            "relit-test", "study", "trial"
        )  # fmt: skip
        assert segment.run.resume  # by which `wandb sync` appends it to what is there
        assert segment.config["plan"] == ["first", {"repeat": 2, "stages": ["second"]}]  # resolved
        assert segment.config["stage"]["second"]["module"]["interrupt_at"] == 8
        assert segment.config["code"] == code_version()
    first, second = segments
    assert (first.exit_code, second.exit_code) == (130, 0)
    assert (first.preempting, second.preempting) == (False, False)
    # one axis over stages and sittings; what came after the checkpoint of step 12 + 5 is there twice
    assert logged(first, "toy/loss") == list(range(len(logged(first, "toy/loss"))))
    assert logged(second, "toy/loss") == list(range(12 + 5, 36))
    assert logged(second, "toy/distance") == [36]
    assert logged(second, "samples/one") == [36]
    assert list((folders[1] / "files" / "media" / "images" / "samples").glob("*.png"))
    assert first.artifacts == {}
    assert second.artifacts["study-3-weights"] == {
        "type": "weights",
        "aliases": ["final", "latest"],
        "metadata": {"steps": 36, "seed": 0},
        "files": ["weights.safetensors"],
    }


def logged(segment: Segment, name: str) -> list[int]:
    """The steps of the run at which a metric, or a picture, was logged."""
    return [
        row["trainer/global_step"]
        for row in segment.history
        if any(key == name or key.startswith(f"{name}.") for key in row)
    ]


@pytest.mark.slow
def test_a_run_that_a_signal_ends_is_preempted(
    no_wandb_account: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For W&B begins such runs of its sweeps again."""
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))
    run_dir = tmp_path / "run"
    node = {"_target_": "relit.loggers.wandb_logger", "project": "relit-test"}
    module = {"interrupt": "SIGTERM", "interrupt_at": 8, "interrupt_stage": 1}
    settings = {f"stage__first__module__{name}": value for name, value in module.items()}
    with pytest.raises(SystemExit):
        run_stages(toy_config(run_dir, plan=["first"], logger=node, **settings))
    (folder,) = (run_dir / "wandb").glob("offline-run-*")
    segment = finished_segment(folder)
    assert (segment.preempting, segment.exit_code) == (True, 143)
    # the last step is there, too
    assert logged(segment, "toy/loss") == list(range(9))


@pytest.mark.slow
def test_a_signal_that_wandbs_own_process_gets_too_ends_the_run_as_ever(
    no_wandb_account: Path, tmp_path: Path
) -> None:
    """As SLURM sends it, where it is told to track processes by their parents."""
    toys = ROOT / "tests" / "toys"
    paths = os.pathsep.join([str(ROOT / "src"), str(toys)])
    command = [f"--config-dir={toys / 'conf'}", "experiment=toy", "rounds=1", "logger=wandb"]
    run = start(command, tmp_path, {"PYTHONPATH": paths, "TOY_PAUSE": "0.5"})
    seen = tmp_path / "runs" / "toy" / "seen-0.jsonl"
    end = time.monotonic() + 300
    while not (seen.exists() and len(seen.read_text().splitlines()) > 2) and time.monotonic() < end:
        time.sleep(0.1)
    threads = Path(f"/proc/{run.process.pid}/task").glob("*/children")
    children = [int(child) for thread in threads for child in thread.read_text().split()]
    assert children
    for pid in (*children, run.process.pid):
        os.kill(pid, signal.SIGTERM)
    found = run.wait()
    assert found.status == 143, found.said
    assert "warning: logger: the end of the run is not logged" in found.said
    assert "Traceback" not in found.said.partition("Exception ignored")[0]


def test_group_and_job_type_come_from_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    with configurations():
        monkeypatch.setenv("WANDB_RUN_GROUP", "table3")
        monkeypatch.setenv("WANDB_JOB_TYPE", "ablation")
        node = composed("experiment=quickstart", "logger=wandb").logger
        assert (node.group, node.job_type) == ("table3", "ablation")
        monkeypatch.delenv("WANDB_RUN_GROUP")
        monkeypatch.delenv("WANDB_JOB_TYPE")
        assert (node.group, node.job_type) == (None, None)
        for table in ("table3", "table4", "table5", "restorex_table2", "restorex_table3"):
            job = composed(f"experiment=ablation/{table}").hydra.job
            assert job.env_set == {"WANDB_RUN_GROUP": table, "WANDB_JOB_TYPE": "ablation"}


def test_tensorboard_writes_events_or_says_what_to_install(tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(ConfigurationError, match=r"relit\[tensorboard\]"):
            tensorboard_logger(tmp_path, "run", "id", {})
        return
    logger = RunLogger(tensorboard_logger(tmp_path, "run", "id", {}))
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.note("code", {"commit": "abcdef"})
    write_png(tmp_path / "samples" / "one.png", torch.zeros(3, 4, 6))
    logger.log_samples(tmp_path / "samples")
    logger.close(0)
    (events,) = (tmp_path / "tensorboard").rglob("events.*")
    for written in (b"abcdef", b"samples/one"):
        assert written in events.read_bytes()

"""Loggers: one step axis, W&B offline without a prompt and under one id."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import pytest
from toy_regression import toy_config

from relit.errors import ConfigurationError
from relit.loggers import RunLogger, csv_logger, has_wandb_credentials, tensorboard_logger, wandb_logger
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


def test_offline_wandb_run_keeps_its_id_over_sittings(no_wandb_account: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    node = {"_target_": "relit.loggers.wandb_logger", "project": "relit-test"}
    run_stages(toy_config(run_dir, logger=node, rounds=0))
    run_id = read_state(run_dir).run_id
    run_stages(toy_config(run_dir, logger=node, rounds=0))
    segments = sorted((run_dir / "wandb").glob("offline-run-*"))
    assert len(segments) in (1, 2)  # W&B names a segment by the second
    for segment in segments:
        assert [file.name for file in segment.glob("*.wandb")] == [f"run-{run_id}.wandb"]
        assert (segment / f"run-{run_id}.wandb").stat().st_size > 0


def test_tensorboard_writes_events_or_says_what_to_install(tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(ConfigurationError, match=r"relit\[tensorboard\]"):
            tensorboard_logger(tmp_path, "run", "id", {})
        return
    logger = RunLogger(tensorboard_logger(tmp_path, "run", "id", {}))
    logger.log_metrics({"loss": 1.0}, step=0)
    logger.close(0)
    assert list((tmp_path / "tensorboard").rglob("events.*"))

"""W&B's sweeps: the command that its agent makes of them composes, and every parameter reaches the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from compositions import ROOT, composed, configurations
from omegaconf import OmegaConf
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

SWEEPS = sorted((ROOT / "conf" / "sweep" / "wandb").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _composing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    monkeypatch.setenv("WANDB_RUN_ID", "r2")
    with configurations():
        yield


def drawn(parameter: dict[str, Any]) -> list[Any]:
    """The extremes of what W&B may choose."""
    return parameter["values"] if "values" in parameter else [parameter["min"], parameter["max"]]


def test_both_methods_have_one() -> None:
    assert {path.stem for path in SWEEPS} == {"clip_lit", "clip_restorex"}


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_agents_command_composes(path: Path, place: int) -> None:
    sweep = yaml.safe_load(path.read_text())
    values = {name: drawn(parameter)[place] for name, parameter in sweep["parameters"].items()}
    arguments = create_sweep_command_args({"args": {name: {"value": v} for name, v in values.items()}})
    assert (ROOT / sweep["program"]).is_file()
    command = create_sweep_command(list(sweep["command"]))
    assert command[:3] == ["${env}", "${interpreter}", "${program}"]
    assert command[-1] == "${args_no_hyphens}"
    cfg = composed(*command[3:-1], *arguments["args_no_hyphens"])
    for name, value in values.items():
        assert OmegaConf.select(cfg, name) == value, name
        assert isinstance(OmegaConf.select(cfg, name), float)
    assert sweep["metric"]["name"] == cfg.monitor == "val/psnr"
    assert cfg.logger._target_ == "relit.loggers.wandb_logger"
    assert cfg.name == "s1/r2"
    assert cfg.hydra.run.dir == "runs/s1/r2"
    assert cfg.hydra.mode is None  # no multirun: one run, whose ranks may start others


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_same_space_is_searched_with_optuna(path: Path) -> None:
    experiment = {"clip_lit": "clip_lit", "clip_restorex": "clip_restorex_lcdp"}[path.stem]
    params = composed(f"experiment={experiment}", f"sweep=optuna_{path.stem}").hydra.sweeper.params
    assert set(params) == set(yaml.safe_load(path.read_text())["parameters"])

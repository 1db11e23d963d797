"""A run directory that is taken up: by how many processes, and by versions that know other settings."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from relit.errors import ConfigurationError
from relit.run_state import FinishedStage, RunState, open_run, read_state, write_state

CONFIG: dict[str, Any] = {"seed": 0, "scale_lr": "none", "stage": {}, "train": True}


def in_a_stage(run_dir: Path, processes: int) -> RunState:
    """A run whose first stage has a checkpoint."""
    state = open_run(run_dir, CONFIG, fresh=False, processes=processes)
    checkpoints = run_dir / "stages/1-first/checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "last.ckpt").touch()
    return state


def test_a_stage_goes_on_with_as_many_processes_as_it_was_begun_with(tmp_path: Path) -> None:
    begun = in_a_stage(tmp_path, 8)
    assert open_run(tmp_path, CONFIG, fresh=False, processes=8) == begun
    with pytest.raises(ConfigurationError, match=r"begun by 8 processes, and here are 4"):
        open_run(tmp_path, CONFIG, fresh=False, processes=4)
    evaluated = open_run(tmp_path, {**CONFIG, "train": False}, fresh=False, processes=1)
    assert evaluated.processes == 8
    assert open_run(tmp_path, CONFIG, fresh=True, processes=4).processes == 4


def test_between_two_stages_their_number_may_change(tmp_path: Path) -> None:
    open_run(tmp_path, CONFIG, fresh=False, processes=8)
    assert open_run(tmp_path, CONFIG, fresh=False, processes=2).processes == 2
    assert read_state(tmp_path).processes == 2


def test_runs_of_versions_without_a_setting_go_on_where_it_means_what_they_did(tmp_path: Path) -> None:
    in_a_stage(tmp_path, 1)
    stored = json.loads((tmp_path / "state.json").read_text())
    del stored["settings"]["scale_lr"], stored["processes"]
    (tmp_path / "state.json").write_text(json.dumps(stored))
    with pytest.raises(ConfigurationError, match=r"scale_lr: 'none' in the run, 'linear' now"):
        open_run(tmp_path, {**CONFIG, "scale_lr": "linear"}, fresh=False)
    assert open_run(tmp_path, CONFIG, fresh=False, processes=2).processes == 2


def finished(run_dir: Path, config: dict[str, Any]) -> None:
    """A run of ``config`` whose first stage is done."""
    state = open_run(run_dir, config, fresh=False)
    state.finished.append(FinishedStage(1, "first", 12))
    write_state(run_dir, state)


NOW: dict[str, Any] = {
    **CONFIG,
    "compile": False,
    "network": {"width": 8},
    "stage": {"first": {"steps": 12, "module": {"prompts": {"context": 16}, "optimizer": {"lr": 0.1}}}},
}


def test_a_run_of_a_version_without_settings_of_training_is_evaluated(tmp_path: Path) -> None:
    """``train=false`` asks of those only that the figures depend on."""
    then = copy.deepcopy(NOW)
    del then["compile"], then["stage"]["first"]["module"]["optimizer"]
    then["stage"]["first"]["steps"] = 6
    finished(tmp_path, then)
    assert open_run(tmp_path, {**NOW, "train": False}, fresh=False).finished
    with pytest.raises(ConfigurationError, match=r"compile: '\(absent\)' in the run[\s\S]*fresh=true"):
        open_run(tmp_path, NOW, fresh=False)


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("network.depth", {"network": {"width": 8, "depth": 2}}),
        ("seed", {"seed": 1}),
        ("stage.first.data.size", {"stage": {"first": {**NOW["stage"]["first"], "data": {"size": 64}}}}),
        (
            "stage.first.module.prompts.context",
            {"stage": {"first": {"steps": 12, "module": {"prompts": {"context": 4}}}}},
        ),
    ],
)
def test_settings_that_figures_depend_on_are_the_runs_without_training_too(
    tmp_path: Path, key: str, other: dict[str, Any]
) -> None:
    finished(tmp_path, NOW)
    with pytest.raises(
        ConfigurationError, match=rf"{key}: .* in the run[\s\S]*name=other start=FILE"
    ) as refusal:
        open_run(tmp_path, {**NOW, **other, "train": False}, fresh=False)
    assert "fresh=true" not in str(refusal.value)
    assert "optimizer" not in str(refusal.value)

"""Configuration checks: every mistake is named by its key, with the remedy where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from toy_regression import toy_config

from relit.checks import TOP_LEVEL_KEYS, check_configuration, check_environment, check_sweep
from relit.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[1]
BASIC = {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}


def message_for(**changes: Any) -> str:
    with pytest.raises(ConfigurationError) as found:
        check_configuration(toy_config(Path("runs/toy"), **changes))
    return str(found.value)


def test_the_toy_configuration_passes() -> None:
    check_configuration(toy_config(Path("runs/toy")))


def test_every_key_of_the_root_configuration_is_known() -> None:
    root = OmegaConf.load(ROOT / "conf" / "train.yaml")
    groups = {next(iter(entry)) for entry in root.defaults if not isinstance(entry, str)}
    chosen = {"experiment", "budget", "ablation", "sweep", "cluster"}
    groups = {group for group in groups if not group.startswith("override ")} - chosen
    assert {*root, *groups} - {"defaults", "hydra"} == set(TOP_LEVEL_KEYS)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("typo", 1, "typo: no such key."),
        ("progres", True, "progres: no such key. Did you mean progress?"),
        ("stage.first.step", 3, "stage.first.step: no such key. Did you mean steps?"),
        ("stage.first.steps", 0, "stage.first.steps: expected a whole number >= 1, found 0."),
        ("stage.first.steps", 1.5, "stage.first.steps: expected a whole number >= 1, found 1.5."),
        ("stage.first.steps", "???", "stage.first.steps: "),
        ("stage.first.module", None, "stage.first.module: expected a node with _target_"),
        ("stage.first.module.lrr", 1, "stage.first.module.lrr: toy_regression.ToyStage takes no 'lrr'."),
        ("stage.first.extend", {"above": 1.0}, "stage.first.extend: expected null or"),
        ("stage.first.extend", {"above": 1.0, "by": 0, "at_most": 1}, "stage.first.extend.by: expected"),
        ("stage.first.trainer", {"devices": 2}, "stage.first.trainer.devices can't be set here"),
        ("stage.first.data", {"batch": 2}, "stage.first.data.batch: toy_regression.ToyPoints takes no"),
        ("trainer.accumulate_grad_batches", 2, "trainer.accumulate_grad_batches can't be set here"),
        ("trainer.precison", 16, "trainer.precison: Trainer has no such argument. Did you mean prec"),
        ("data.batch_sizes", 2, "takes no 'batch_sizes'. Did you mean batch_size?"),
        ("data", {"_target_": "toy_regression.ToyPoints"}, "data.batch_size: toy_regression.ToyPoints needs"),
        ("data", None, "data: no data named."),
        ("plan", ["first", "thrid"], "plan names the stage 'thrid', but there is no stage.thrid."),
        ("plan", None, "experiment=quickstart"),
        ("seed", -1, "seed: expected a whole number >= 0, found -1."),
        ("train", "no", "train: expected true or false, found 'no'."),
        ("checkpoint_every", 0, "checkpoint_every: expected"),
        ("threads", 0, "threads: expected"),
        ("finish", ["toy_regression.report"], "finish[0]: expected a node with _target_"),
        ("clip", {"prompts": {"_target_": "toy_regression.refuse", "model": "x"}}, "clip.prompts.model: "),
        ("seed", "${sed}", "sed"),
    ],
)  # fmt: skip
def test_each_mistake_is_named(key: str, value: Any, expected: str) -> None:
    assert expected in message_for(**{key: value})


def test_a_run_is_not_deleted_before_it_is_evaluated() -> None:
    assert "fresh: true would delete the run" in message_for(fresh=True, train=False)


def test_all_mistakes_are_listed_at_once() -> None:
    message = message_for(seed=-1, typo=1, stage__first__steps=0)
    assert len(message.splitlines()) == 3


def test_data_settings_may_come_from_the_stages() -> None:
    cfg = toy_config(Path("runs/toy"), data={"_target_": "toy_regression.ToyPoints"})
    for name in ("first", "second"):
        OmegaConf.update(cfg, f"stage.{name}.data", {"batch_size": 2}, force_add=True)
    check_configuration(cfg)


def test_stages_that_need_other_data_are_told_in_one_line() -> None:
    message = message_for(stage__first__data={"images": True}, stage__second__data={"images": True})
    assert message.splitlines() == [
        "stage.first.data.images: toy_regression.ToyPoints takes no 'images'. "
        "Other stages ask for it, too: 1. Choose a data=NAME that suits the method."
    ]


def test_a_wrong_target_is_named_by_its_key() -> None:
    message = message_for(
        stage={"first": {"module": {"_target_": "toy_regression.X"}, "steps": 1}}, plan=["first"]
    )
    assert message.startswith("stage.first.module._target_: 'toy_regression.X'")


@pytest.mark.parametrize(("devices", "nodes"), [(1, 1), ("1", 1), ([2], 1), (OmegaConf.create([2]), 1)])
def test_sweep_on_one_device_is_fine(devices: Any, nodes: int) -> None:
    check_sweep(devices, nodes, BASIC)


@pytest.mark.parametrize(
    ("devices", "nodes"), [(2, 1), (-1, 1), ("auto", 1), (OmegaConf.create([0, 1]), 1), (1, 2)]
)
def test_sweep_on_several_devices_is_refused(devices: Any, nodes: int) -> None:
    with pytest.raises(ConfigurationError, match="wandb agent") as found:
        check_sweep(devices, nodes, BASIC)
    for way in ("CUDA_VISIBLE_DEVICES=0", "sweep=optuna", "cluster=slurm"):
        assert way in str(found.value)


def test_sweep_under_torchrun_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigurationError, match="2 processes of torchrun"):
        check_sweep(1, 1, BASIC)


def test_one_task_of_the_launcher_for_each_device_is_fine() -> None:
    launcher = {
        "_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
        "tasks_per_node": 4,
        "nodes": 2,
    }
    check_sweep(4, 2, launcher)
    for devices, nodes in ((4, 1), (-1, 2), (1, 1)):
        with pytest.raises(ConfigurationError, match=r"2 node\(s\) x 4 task\(s\)"):
            check_sweep(devices, nodes, launcher)


def test_environment_that_runs_the_tests_passes() -> None:
    check_environment()


def test_environment_names_a_broken_package(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    # None in sys.modules makes an import fail as if the package were absent
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ConfigurationError, match=r"torchvision cannot be imported.*requirements\.txt"):
        check_environment()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"best": "loss"}, "stage.first.best: expected null or {monitor: ..., mode: ...}, found 'loss'"),
        ({"best": {"monitor": "val/S", "mode": "min"}}, "set stage.first.validate_every=STEPS"),
        ({"best": {"monitor": "loss", "mode": "least"}}, "stage.first.best.mode=least"),
        ({"best": {"monitor": "loss", "mode": "min"}, "ema": {"decay": 0.9}}, "monitor a val/ metric"),
        ({"restart": {"after": 2, "at_most": 1}}, "stage.first.restart.after=2: the stage has 2 steps"),
        ({"restart": {"at_most": -1}}, "stage.first.restart.at_most=-1"),
        ({"ema": {"decay": 1.5}}, "stage.first.ema.decay=1.5"),
        ({"validate_every": 0}, "stage.first.validate_every: expected null or steps >= 1, found 0"),
        ({"extend": {"above": 1, "by": 0, "at_most": 1}}, "stage.first.extend.by: expected a whole number"),
    ],
)
def test_rules_of_a_stage_that_can_not_work_are_named(settings: dict[str, Any], expected: str) -> None:
    stage = {"module": {"_target_": "toy_regression.ToyStage"}, "steps": 2, **settings}
    assert expected in message_for(stage={"first": stage}, plan=["first"])

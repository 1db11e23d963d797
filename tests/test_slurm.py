"""The profile for SLURM: what sbatch is asked for, with one task for each GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("hydra_plugins.hydra_submitit_launcher")

from compositions import composed, configurations
from omegaconf import OmegaConf
from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

from relit.checks import check_sweep
from relit.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _composing() -> Iterator[None]:
    with configurations():
        yield


def launcher(*overrides: str) -> tuple[Any, dict[str, Any]]:
    """The composed run, and its launcher's settings."""
    cfg = composed("experiment=clip_lit", "cluster=slurm", "trainer=ddp", *overrides)
    node: Any = OmegaConf.to_container(cfg.hydra.launcher, resolve=True)
    return cfg, node


def directives(settings: dict[str, Any]) -> set[str]:
    """What the script says to SLURM, made from the settings as Hydra's launcher hands them on."""
    launchers = {"_target_", "submitit_folder", "max_num_timeout"}
    names = SlurmExecutor._equivalence_dict()
    options = {
        names.get(key, key): value
        for key, value in settings.items()
        if key not in launchers and value is not None
    }
    script = _make_sbatch_string(command="run", folder="folder", **options)
    return {line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")}


def test_one_task_for_each_gpu_of_each_node() -> None:
    cfg, settings = launcher("trainer.devices=4", "trainer.num_nodes=2", "hydra.launcher.partition=gpu")
    said = directives(settings)
    assert {
        "--nodes=2",
        "--ntasks-per-node=4",
        "--gpus-per-node=4",
        "--partition=gpu",
        "--requeue",
        "--signal=USR2@120",
        "--time=1440",
    } <= said
    assert settings["max_num_timeout"] > 0
    assert cfg.trainer.strategy == "ddp"
    assert cfg.hydra.mode.name == "MULTIRUN"
    check_sweep(cfg.trainer.devices, cfg.trainer.num_nodes, settings)


def test_the_profile_alone_takes_one_gpu() -> None:
    cfg, settings = launcher()
    assert (cfg.trainer.devices, settings["tasks_per_node"], settings["nodes"]) == (1, 1, 1)
    check_sweep(cfg.trainer.devices, cfg.trainer.num_nodes, settings)


def test_tasks_that_are_no_match_for_the_devices_are_refused() -> None:
    cfg, settings = launcher("trainer.devices=4", "hydra.launcher.tasks_per_node=1")
    with pytest.raises(ConfigurationError, match="one task for each device"):
        check_sweep(cfg.trainer.devices, cfg.trainer.num_nodes, settings)


def test_a_study_may_run_on_the_cluster() -> None:
    cfg, settings = launcher("sweep=optuna_clip_lit", "trainer.devices=4")
    assert settings["tasks_per_node"] == 4
    assert cfg.hydra.sweeper._target_.startswith("hydra_plugins.relit_sweeper.")

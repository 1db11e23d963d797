"""Check a configuration and the environment before anything is built; messages name key and remedy."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from relit.errors import ConfigurationError
from relit.learning_rate import SCALINGS
from relit.plan import expand_plan
from relit.stage_checks import RUNNER_TRAINER_KEYS, is_int, stage_problems, trainer_problems, unknown_keys
from relit.targets import near, target_problems

SUITABLE_CLIPS = "openai or tiny; for CLIP-RestoreX openai_prior, tiny_prior or imagenet_prior"

TOP_LEVEL_KEYS = (
    "name",
    "seed",
    "runs",
    "run_dir",
    "fresh",
    "train",
    "checkpoint_every",
    "validate_every",
    "progress",
    "threads",
    "monitor",
    "plan",
    "rounds",
    "stage",
    "start",
    "network",
    "compile",
    "channels_last",
    "scale_lr",
    "ema",
    "clip",
    "data",
    "trainer",
    "logger",
    "finish",
)
CLIP_SETTINGS = ("logit_scale", "identity_distance", "identity_weight", "phrases", "sap_weight", "width")
CLIP_ROLES = ("prompts", "identity", "prior", "sap")


def check_environment() -> None:
    """Import torch, torchvision and lightning once and say readably why they don't work here.

    Raises:
        ConfigurationError: a package is missing, too old, or torch and torchvision don't belong together.
    """
    remedy = "Install the pinned packages: make test, or pip install -r requirements.txt."
    for name in ("torch", "lightning", "torchvision"):
        try:
            importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:
            hint = " torch and torchvision don't belong together." if name == "torchvision" else ""
            raise ConfigurationError(f"{name} cannot be imported: {error}.{hint} {remedy}") from error


def check_sweep(devices: Any, num_nodes: int, launcher: Mapping[str, Any]) -> None:
    """Refuse a sweep over several devices in one process: each further rank would launch it all again.

    A launcher that starts one task for each device is fine.

    Args:
        devices: ``trainer.devices``.
        num_nodes: ``trainer.num_nodes``.
        launcher: node of Hydra's launcher.
    """
    if "submitit" in str(launcher.get("_target_")):
        _check_tasks(devices, num_nodes, launcher)
        return
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    listed = isinstance(devices, Sequence) and not isinstance(devices, str)
    count = len(devices) if listed else devices
    if count in (1, "1") and num_nodes == 1 and ranks == 1:
        return
    found = f"trainer.devices={devices} trainer.num_nodes={num_nodes}"
    raise ConfigurationError(
        f"--multirun with {found if ranks == 1 else f'{ranks} processes of torchrun'}: each further process "
        "would launch the sweep again. What works: trainer.devices=1 and a worker of the study on each GPU "
        "(CUDA_VISIBLE_DEVICES=0 python train.py -m sweep=optuna ..., then the same with 1); or one run at a "
        "time on all GPUs, started by `wandb agent` (conf/sweep/wandb) or as a SLURM job (cluster=slurm, "
        "with trainer.devices tasks on each node). See docs/SCALING.md."
    )


def _check_tasks(devices: Any, num_nodes: int, launcher: Mapping[str, Any]) -> None:
    tasks, nodes = launcher.get("tasks_per_node"), launcher.get("nodes")
    if (devices, num_nodes) != (tasks, nodes):
        raise ConfigurationError(
            f"hydra.launcher starts {nodes} node(s) x {tasks} task(s), but trainer.num_nodes={num_nodes} and "
            f"trainer.devices={devices}: they must agree, one task for each device. cluster=slurm takes them "
            "from trainer, where devices has to be a number."
        )


def check_configuration(cfg: DictConfig) -> None:
    """Check keys, the plan, numbers and every ``_target_`` of a composed configuration.

    Raises:
        ConfigurationError: one message that lists everything found.
    """
    config = _resolved(cfg)
    problems = list(_top_level_problems(config))
    try:
        names = list(dict.fromkeys(planned.name for planned in expand_plan(config.get("plan"))))
    except ConfigurationError as error:
        names = []
        problems.append(str(error))
    stages = config.get("stage") or {}
    for name in names:
        if name not in stages:
            problems.append(
                f"plan names the stage {name!r}, but there is no stage.{name}.{near(name, stages)}"
            )
    for name, stage in stages.items():
        problems += stage_problems(f"stage.{name}", stage)
    problems += trainer_problems("trainer", config.get("trainer") or {}, RUNNER_TRAINER_KEYS)
    problems += _clip_problems(config.get("clip") or {})
    problems += target_problems(config, names)
    if problems:
        raise ConfigurationError("\n".join(problems))


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        if key and isinstance(error, MissingMandatoryValue):
            raise ConfigurationError(f"{key}: not set. Set it: {key}=VALUE.") from error
        reason = str(error).splitlines()[0]
        if missing := re.match(r"Interpolation key '(\w+)\.", reason):
            known = f": {SUITABLE_CLIPS}" if missing[1] == "clip" else ""
            raise ConfigurationError(
                f"{key}: {reason}. Choose a {missing[1]}=NAME that suits the method{known}."
            ) from error
        raise ConfigurationError(f"{key}: {reason}. Set it: {key}=VALUE." if key else reason) from error


def _top_level_problems(config: Mapping[str, Any]) -> Iterator[str]:
    yield from unknown_keys("", config, TOP_LEVEL_KEYS)
    if not is_int(config.get("checkpoint_every"), least=1):
        yield f"checkpoint_every: expected a whole number >= 1, found {config.get('checkpoint_every')!r}."
    if not is_int(config.get("seed"), least=0):
        yield f"seed: expected a whole number >= 0, found {config.get('seed')!r}."
    if config.get("fresh") and config.get("train") is False:
        yield "fresh: true would delete the run that train=false is to evaluate. Leave one of them out."
    for name in ("train", "compile", "channels_last"):
        if not isinstance(config.get(name, False), bool):
            yield f"{name}: expected true or false, found {config.get(name)!r}."
    if (rule := config.get("scale_lr", "none")) not in SCALINGS:
        yield f"scale_lr: expected one of {', '.join(SCALINGS)}, found {rule!r}."
    threads = config.get("threads")
    if threads is not None and not is_int(threads, least=1):
        yield f"threads: expected null or a whole number >= 1, found {threads!r}."
    if not isinstance(config.get("data"), Mapping):
        yield "data: no data named. Choose one, such as data=sample."
    for place, node in enumerate(config.get("finish") or []):
        if not isinstance(node, Mapping) or "_target_" not in node:
            yield f"finish[{place}]: expected a node with _target_, found {node!r}."


def _clip_problems(clip: Mapping[str, Any]) -> Iterator[str]:
    """Roles are nodes with a ``_target_``; beside them stand the settings that go with their features."""
    for name, value in clip.items():
        if name not in CLIP_SETTINGS and not (isinstance(value, Mapping) and "_target_" in value):
            yield f"clip.{name}: no such key.{near(str(name), (*CLIP_SETTINGS, *CLIP_ROLES))}"

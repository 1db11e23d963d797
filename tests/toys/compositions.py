"""Runs and sweeps composed from the real ``conf``, without training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from relit.ablation_sweep import AblationTable
from relit.instantiation import build
from relit.plan import expand_plan

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def configurations() -> Iterator[None]:
    """Inside, :func:`composed` works."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield
    GlobalHydra.instance().clear()


@cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    return compose("train", ["hydra.runtime.output_dir=runs/x", *overrides], return_hydra_config=True)


def composed(*overrides: str) -> DictConfig:
    """The configuration of a run, as train.py hands it on; ``hydra`` in it can be resolved, too."""
    cfg = deepcopy(_composed(overrides))
    HydraConfig.instance().set_config(cfg)
    return cfg


def task(cfg: DictConfig) -> DictConfig:
    """Without ``hydra``."""
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def stages(cfg: DictConfig) -> list[str]:
    """Names in the order of the plan."""
    return [planned.name for planned in expand_plan(OmegaConf.to_container(cfg.plan, resolve=True))]


def jobs(table: str, *overrides: str) -> list[list[str]]:
    """The overrides of each run that ``experiment=ablation/TABLE`` sweeps over."""
    given = [f"experiment=ablation/{table}", *overrides]
    params = composed(
        *(override for override in given if not override.startswith("seed="))
    ).hydra.sweeper.params
    swept = OverridesParser.create().parse_overrides([*(f"{k}={v}" for k, v in params.items()), *given])
    return BasicSweeper.split_arguments(swept, None)[0]


def table_of(cfg: DictConfig) -> AblationTable:
    """The callback that collects the runs of a table."""
    node: dict[str, Any] = dict(cfg.hydra.callbacks.table)
    found = build(node)
    assert isinstance(found, AblationTable)
    return found

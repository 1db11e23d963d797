"""From a composed sweep to a worker: checks, the study, the jobs."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from relit.checks import check_sweep
from relit.errors import ConfigurationError
from relit.logged import VALIDATION
from relit.plan import expand_plan
from relit.run_settings import binding_settings
from relit.stage_checks import is_int
from relit.sweep.trial import STUDY, TRIAL, database
from relit.targets import near, resolve_target

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage

    from relit.sweep.search_space import SearchSpace
    from relit.sweep.worker import Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepSettings:
    """``hydra.sweeper`` without the search space; ``conf/hydra/sweeper/relit_optuna.yaml`` explains it."""

    study: str | None
    storage: str | None
    runs: int
    direction: Literal["maximize", "minimize"]
    heartbeat: int
    grace: int
    reruns: int
    sampler: Mapping[str, Any]
    pruner: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name, least in (("runs", 1), ("heartbeat", 1), ("reruns", 0)):
            if not is_int(value := getattr(self, name), least=least):
                raise ConfigurationError(
                    f"hydra.sweeper.{name}: expected a whole number >= {least}, found {value!r}."
                )
        if not is_int(self.grace, least=self.heartbeat + 1):
            raise ConfigurationError(
                f"hydra.sweeper.grace={self.grace}: must be longer than hydra.sweeper.heartbeat="
                f"{self.heartbeat}, or every run counts as dead."
            )
        if self.direction not in ("maximize", "minimize"):
            raise ConfigurationError(
                f"hydra.sweeper.direction={self.direction}: must be maximize or minimize."
            )


def sweep(
    config: DictConfig,
    settings: SweepSettings,
    overrides: Sequence[str],
    loader: ConfigLoader,
    launcher: Launcher,
) -> None:
    """Take trials of the study that ``config`` describes until it has all its runs; then print the best.

    Args:
        config: composed without what is searched, ``hydra`` in it.
        settings: of the study and its workers.
        overrides: the search space, and what holds for all runs.
        loader: Hydra's, for overrides that choose among the files of a group.
        launcher: carries out one run at a time.

    Raises:
        ConfigurationError: a mistake that would fail every run.
        SystemExit: with status 1, if no run of the study has worked.
    """
    _require_optuna()
    from relit.sweep.search_space import read_space
    from relit.sweep.study import standing
    from relit.sweep.table import summary, write_table

    check_sweep(config.trainer.devices, config.trainer.num_nodes, config.hydra.launcher)
    space = read_space(OverridesParser.create(config_loader=loader).parse_overrides(list(overrides)))
    check_keys(config, space.searched)
    check_grid(settings.sampler, space.searched)
    monitor = check_monitor(config)
    study, storage = _agreed_study(config, settings, space)
    # the launcher would repeat all overrides before each run
    logging.getLogger("hydra").setLevel(logging.WARNING)
    folder = Path(config.hydra.sweep.dir, config.name)
    _worker(study, storage, space, launcher, settings, folder).work()
    print(f"\n{summary(study, folder, monitor)}\nruns: {write_table(study, folder)}")
    found = standing(study)
    if not (found.complete or found.pruned or found.running):
        raise SystemExit(1)


def _require_optuna() -> None:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ConfigurationError('sweep: Optuna is not installed. Use pip install "relit[sweep]".') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _agreed_study(
    config: DictConfig, settings: SweepSettings, space: SearchSpace
) -> tuple[Study, RDBStorage]:
    """The study as this worker sees it, and the opened storage; it and other workers want the same."""
    from relit.sweep.storage import without_experimental_warnings
    from relit.sweep.study import agree_on, check_ranges, open_study

    with without_experimental_warnings():
        sampler = instantiate(settings.sampler, _convert_="all")
        pruner = instantiate(settings.pruner, _convert_="all")
    _warn_of_password(config.hydra.sweeper)
    study, storage = open_study(
        settings.study or str(config.name),
        database(config.hydra, config.name),
        settings.direction,
        sampler,
        pruner,
        heartbeat=settings.heartbeat,
        grace=settings.grace,
        reruns=settings.reruns,
    )
    agree_on(study, common_settings(config, space.searched))
    check_ranges(study, space.searched)
    return study, storage


def _warn_of_password(sweeper: DictConfig) -> None:
    from relit.sweep.storage import has_password

    written = sweeper.storage is not None and not OmegaConf.is_interpolation(sweeper, "storage")
    if written and has_password(sweeper.storage):
        log.warning(
            "hydra.sweeper.storage has a password in it: it can be read in lists of processes, and in files "
            "that launchers and W&B keep. Put the address into the environment and give "
            "'hydra.sweeper.storage=${oc.env:RELIT_STORAGE}', or leave the password to ~/.pgpass."
        )


def _worker(
    study: Study,
    storage: RDBStorage,
    space: SearchSpace,
    launcher: Launcher,
    settings: SweepSettings,
    folder: Path,
) -> Worker:
    """One whose runs ``launcher`` carries out, with the environment by which each finds its trial."""
    from relit.sweep.table import write_table
    from relit.sweep.worker import Worker

    name = study.study_name
    # W&B shows the runs of a study as one group
    tracking = {"WANDB_RUN_GROUP": os.environ.get("WANDB_RUN_GROUP", name), "WANDB_JOB_TYPE": "trial"}

    def launch(overrides: list[str], run: int, trial_id: int) -> JobReturn:
        told = _environment({**tracking, STUDY: name, TRIAL: str(trial_id)})
        (job,) = launcher.launch([[*overrides, *told]], initial_job_idx=run)
        return job

    def note() -> None:
        write_table(study, folder)

    # a sign of life may be up to one interval old when its worker dies
    patience = settings.grace + 2 * settings.heartbeat
    return Worker(study, storage, space, launch, folder, settings.runs, patience, note)


def check_keys(config: DictConfig, searched: Iterable[str]) -> None:
    """Refuse to search what is no key, or what a run would read elsewhere.

    Raises:
        ConfigurationError: a key does not exist, or belongs to a node that repeats another one.
    """
    for key in searched:
        if key.startswith("+") or key.partition("@")[0] in config.hydra.runtime.choices:
            continue
        node, path = config, key.split(".")
        for place, name in enumerate(path):
            if not isinstance(node, DictConfig) or name not in node:
                known = [str(one) for one in node] if isinstance(node, DictConfig) else []
                raise ConfigurationError(f"sweep: {key}: no such key.{near(name, known)}")
            last = place == len(path) - 1
            if not last and OmegaConf.is_interpolation(node, name):
                repeated = ".".join(path[: place + 1])
                raise ConfigurationError(
                    f"sweep: {key}: {repeated} repeats another node, so that this would replace it; search "
                    "the one that it repeats."
                )
            node = node if last else node[name]


def check_grid(sampler: Mapping[str, Any], searched: Iterable[str]) -> None:
    """Refuse a grid of other keys than those that are searched; other samplers have none.

    Raises:
        ConfigurationError: it lacks a key, or has one that no run would get.
    """
    grid, searched = sampler.get("search_space"), set(searched)
    if not isinstance(grid, Mapping) or set(grid) == searched:
        return
    raise ConfigurationError(
        "hydra.sweeper.sampler.search_space: a grid needs the values to try of each key that is searched, "
        f"and of no other: here {', '.join(sorted(grid)) or 'none'}, searched {', '.join(sorted(searched))}."
    )


def check_monitor(config: DictConfig) -> str:
    """The name of what is optimised, if a run can measure it.

    Raises:
        ConfigurationError: none is named, it is a validation metric and no stage is validated, or it is
            one of the end and nothing measures there.
    """
    monitor = config.monitor
    if monitor is None:
        raise ConfigurationError(
            "monitor: not set. Name what is to be optimised: monitor=val/psnr, with validate_every=STEPS."
        )
    if str(monitor).startswith(f"{VALIDATION}/"):
        plan: Any = OmegaConf.to_container(config.plan, resolve=True)
        stages = [config.stage[planned.name] for planned in expand_plan(plan)]
        if not any((every := stage.get("validate_every")) and every <= stage.steps for stage in stages):
            raise ConfigurationError(
                f"monitor={monitor} is measured by validations, and no stage of the plan has one: set "
                "validate_every to at most as many steps as a stage has."
            )
    elif not any(map(_may_measure, at_the_end := [str(node["_target_"]) for node in config.finish or ()])):
        raise ConfigurationError(
            f"monitor={monitor} would be measured at a run's end, and finish={at_the_end} measures nothing. "
            f"Set monitor={VALIDATION}/..., or sweep=optuna, which keeps the experiment's finish, with a "
            "space of your own."
        )
    return str(monitor)


def _may_measure(target: str) -> bool:
    """Whether what ``finish`` names may return metrics: all but what is annotated to return nothing."""
    return inspect.signature(resolve_target(target)).return_annotation not in (None, "None")


def common_settings(config: DictConfig, searched: Iterable[str]) -> dict[str, Any]:
    """What defines the runs of a study, by dotted key, without what they are to differ in."""
    task = OmegaConf.masked_copy(config, [str(key) for key in config if key not in ("hydra", "run_dir")])
    # a copy of its own, in which interpolations still find their root
    resolved: Any = OmegaConf.to_container(task, resolve=True)
    settings = binding_settings(resolved)
    differ = tuple(key.lstrip("+").partition("@")[0] for key in searched)
    return {
        key: value
        for key, value in settings.items()
        if not any(key == name or key.startswith(f"{name}.") for name in differ)
    }


def _environment(variables: Mapping[str, str]) -> list[str]:
    """The overrides by which Hydra sets ``variables`` for a run, wherever its launcher starts it."""
    return [
        f"++hydra.job.env_set.{name}={QuotedString(text, Quote.single).with_quotes()}"
        for name, text in variables.items()
    ]

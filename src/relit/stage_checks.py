"""Checks of one stage's settings and of what is handed to Lightning's Trainer."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from relit.errors import ConfigurationError
from relit.targets import near

STAGE_KEYS = ("module", "data", "steps", "extend", "restart", "best", "ema", "validate_every", "trainer")
PRECISIONS = ("32-true", 32, "32", "16-mixed", "bf16-mixed")

# The runner decides these; positions of a batch and resuming depend on them.
RUNNER_TRAINER_KEYS = frozenset(
    {
        "accumulate_grad_batches",
        "barebones",
        "callbacks",
        "check_val_every_n_epoch",
        "default_root_dir",
        "enable_checkpointing",
        "enable_model_summary",
        "enable_progress_bar",
        "limit_val_batches",
        "logger",
        "max_epochs",
        "max_steps",
        "max_time",
        "min_epochs",
        "min_steps",
        "num_sanity_val_steps",
        "plugins",
        "reload_dataloaders_every_n_epochs",
        "use_distributed_sampler",
        "val_check_interval",
    }
)
# Processes start once per run, so a stage cannot choose these.
RUN_TRAINER_KEYS = frozenset({"accelerator", "devices", "num_nodes", "strategy"})


def stage_problems(key: str, stage: Any) -> Iterator[str]:
    """What is wrong with the settings ``stage`` of the stage at ``key``, one message each."""
    if not isinstance(stage, Mapping):
        yield f"{key}: expected a mapping with {', '.join(STAGE_KEYS)}, found {stage!r}."
        return
    yield from unknown_keys(key, stage, STAGE_KEYS)
    if not isinstance(stage.get("module"), Mapping) or "_target_" not in stage["module"]:
        yield f"{key}.module: expected a node with _target_, found {stage.get('module')!r}."
    if not is_int(stage.get("steps"), least=1):
        yield f"{key}.steps: expected a whole number >= 1, found {stage.get('steps')!r}."
    if stage.get("validate_every") is not None and not is_int(stage["validate_every"], least=1):
        yield f"{key}.validate_every: expected null or steps >= 1, found {stage['validate_every']!r}."
    yield from _optimizer_problems(f"{key}.module", stage.get("module"))
    yield from _rule_problems(key, stage)
    yield from trainer_problems(
        f"{key}.trainer", stage.get("trainer") or {}, RUNNER_TRAINER_KEYS | RUN_TRAINER_KEYS
    )


def _rule_problems(key: str, stage: Mapping[str, Any]) -> Iterator[str]:
    """The rules of a stage check themselves; here their keys are checked, and how they go together."""
    from relit.best_snapshot import BestRule  # heavy, for Lightning's sake
    from relit.dead_start import RestartRule
    from relit.loss_extension import ExtensionRule
    from relit.moving_average import AverageRule

    rules = {"extend": ExtensionRule, "restart": RestartRule, "best": BestRule, "ema": AverageRule}
    for name, rule in rules.items():
        settings = stage.get(name)
        if settings is None:
            continue
        try:
            rule(**settings)
        except (TypeError, AttributeError):
            known = ", ".join(f"{name}: ..." for name in inspect.signature(rule).parameters)
            yield f"{key}.{name}: expected null or {{{known}}}, found {settings!r}."
        except ConfigurationError as error:
            yield f"{key}.{error}"
    yield from _combination_problems(key, stage)


def _combination_problems(key: str, stage: Mapping[str, Any]) -> Iterator[str]:
    """Rules that can never apply, or that contradict each other."""
    best, restart = stage.get("best"), stage.get("restart")
    if isinstance(best, Mapping):
        monitor = best.get("monitor")
        if monitor != "loss" and stage.get("validate_every") is None:
            yield f"{key}.best.monitor={monitor} is measured by validations; set {key}.validate_every=STEPS."
        if monitor == "loss" and stage.get("ema") is not None:
            yield f"{key}.best.monitor=loss judges other weights than ema hands over; monitor a val/ metric."
    steps = stage.get("steps")
    if isinstance(restart, Mapping) and isinstance(steps, int) and is_int(restart.get("after"), least=steps):
        yield (
            f"{key}.restart.after={restart['after']}: the stage has {steps} steps, so no dead start would be "
            f"seen. Look earlier, or set {key}.restart=null and network.initial_map=1.0."
        )


def _optimizer_problems(key: str, module: Any) -> Iterator[str]:
    rate = ((module or {}).get("optimizer") or {}).get("lr", 1) if isinstance(module, Mapping) else 1
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0:
        yield f"{key}.optimizer.lr: expected a number above 0, found {rate!r}."


def trainer_problems(key: str, options: Mapping[str, Any], reserved: Collection[str]) -> Iterator[str]:
    """What is wrong with Trainer ``options`` at ``key``, of which ``reserved`` are not to be set there."""
    from lightning.pytorch import Trainer  # heavy

    known = set(inspect.signature(Trainer).parameters)
    for name in options:
        if name in reserved:
            yield f"{key}.{name} can't be set here: " + (
                "processes start once per run; set trainer." + name + "."
                if name in RUN_TRAINER_KEYS
                else "the stage runner decides it."
            )
        elif name == "precision" and options[name] not in PRECISIONS:
            choices = ", ".join(str(choice) for choice in PRECISIONS if isinstance(choice, str))
            yield f"{key}.precision: expected one of {choices}, found {options[name]!r}."
        elif name not in known:
            yield f"{key}.{name}: Trainer has no such argument.{near(name, known - set(reserved))}"


def unknown_keys(prefix: str, node: Mapping[str, Any], known: Collection[str]) -> Iterator[str]:
    """A message for each key of ``node`` that is not ``known``."""
    for name in node:
        if name not in known:
            key = f"{prefix}.{name}" if prefix else str(name)
            yield f"{key}: no such key.{near(str(name), known)}"


def is_int(value: Any, *, least: int) -> bool:
    """Whether ``value`` is a whole number of at least ``least``; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least

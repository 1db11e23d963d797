"""Which settings make a run the one that it is, and what of them has to be the same in each sitting."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from relit.errors import ConfigurationError

# Settings that may change between two sittings of one run: they do not change what is learned.
VOLATILE = (
    "name",
    "runs",
    "run_dir",
    "fresh",
    "train",
    "threads",
    "progress",
    "monitor",
    "checkpoint_every",
    "logger",
    "logger.*",
    "finish",
    "finish.*",
    "trainer.accelerator",
    "trainer.deterministic",
    "trainer.strategy",
    "trainer.log_every_n_steps",
    "data.num_workers",
    "data.cache",
    "data.cache_dir",
    "data.test_input",
    "data.test_reference",
    "data.test_size",
    "data.layout.test_input",
    "data.layout.test_reference",
    "stage.*.data.num_workers",
    "stage.*.trainer.log_every_n_steps",
)

# As long as no stage hands over its best weights by what validation found.
VALIDATION = ("validate_every", "stage.*.validate_every")

ADDED = {"scale_lr": "none", "network.illumination_scale": 1}
"""Settings that runs of older versions did without, with the values that mean just that."""

# Training alone heeds these ...
TRAINING = ("channels_last", "compile", "ema", "ema.*", "scale_lr", "stage.*", "trainer.*", "validate_every")
# ... but for what of a stage the figures depend on: photographs, and the prompts that S is measured by.
EVALUATION = (
    "stage.*.data",
    "stage.*.data.*",
    "stage.*.module.logit_scale",
    "stage.*.module.prompts",
    "stage.*.module.prompts.*",
)


def binding_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a resolved ``config`` that define what is learned, as ``{"dotted.key": value}``."""
    settings = json.loads(json.dumps({**ADDED, **dict(_flatten(config))}))
    return _without_volatile(settings, config)


def refuse_other_settings(run_dir: Path, stored: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Let a run go on, or be evaluated, with its own settings only.

    With ``train=false`` only those are compared that results depend on: training alone heeds the others, and
    a run may have been begun by a version that did not have them.

    Args:
        run_dir: the run's directory, for the message.
        stored: the binding settings that the run was begun with.
        config: the resolved configuration.

    Raises:
        ConfigurationError: one differs.
    """
    then, now = _without_volatile({**ADDED, **stored}, config), binding_settings(config)
    if config.get("train", True):
        remedy = (
            "continue it, name=other to train elsewhere, or fresh=true to delete the run's stages and "
            "results and start anew."
        )
    else:
        then, now = _heeded_by_evaluation(then), _heeded_by_evaluation(now)
        remedy = "evaluate it, or its weights to another run: name=other start=FILE."
    missing = "(absent)"
    lines = [
        f"  {key}: {then.get(key, missing)!r} in the run, {now.get(key, missing)!r} now\n"
        for key in sorted({*then, *now})
        if then.get(key, missing) != now.get(key, missing)
    ]
    if lines:
        raise ConfigurationError(
            f"{run_dir} holds a run with other settings:\n{''.join(lines)}"
            f"Give the settings the run was begun with to {remedy}"
        )


def _heeded_by_evaluation(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in settings.items()
        if _matches(key, EVALUATION) or not _matches(key, TRAINING)
    }


def _matches(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(key, pattern) for pattern in patterns)


def _without_volatile(settings: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    stages = (config.get("stage") or {}).values()
    judged = any(isinstance(stage, Mapping) and stage.get("best") for stage in stages)
    volatile = VOLATILE if judged else VOLATILE + VALIDATION
    return {key: value for key, value in settings.items() if not _matches(key, volatile)}


def _flatten(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings; lists count as leaves, empty mappings too."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node

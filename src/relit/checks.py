"""Check a configuration and the environment before anything is built; messages name key and remedy."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from relit.errors import ConfigurationError
from relit.plan import expand_plan

TOP_LEVEL_KEYS = (
    "name",
    "seed",
    "runs",
    "run_dir",
    "fresh",
    "checkpoint_every",
    "progress",
    "threads",
    "monitor",
    "plan",
    "rounds",
    "stage",
    "network",
    "clip",
    "data",
    "trainer",
    "logger",
    "finish",
)
STAGE_KEYS = ("module", "data", "steps", "extend", "trainer")
CLIP_SETTINGS = ("logit_scale", "identity_distance", "identity_weight")
PRECISIONS = ("32-true", 32, "32", "16-mixed", "bf16-mixed")
EXTENSION_KEYS = ("above", "by", "at_most")

# The runner decides these; positions of a batch and resuming depend on them.
RUNNER_TRAINER_KEYS = frozenset(
    {
        "accumulate_grad_batches",
        "barebones",
        "callbacks",
        "default_root_dir",
        "enable_checkpointing",
        "enable_model_summary",
        "enable_progress_bar",
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
    }
)
# Processes start once per run, so a stage cannot choose these.
RUN_TRAINER_KEYS = frozenset({"accelerator", "devices", "num_nodes", "strategy"})

_HYDRA_KEYS = frozenset({"_target_", "_partial_", "_recursive_", "_convert_", "_args_"})


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


def check_sweep(devices: Any, num_nodes: int) -> None:
    """Refuse a sweep over several devices: each further rank would launch the whole sweep again.

    Args:
        devices: ``trainer.devices``.
        num_nodes: ``trainer.num_nodes``.
    """
    if devices in (1, "1") and num_nodes == 1:
        return
    if isinstance(devices, list) and len(devices) == 1 and num_nodes == 1:
        return
    raise ConfigurationError(
        f"--multirun with trainer.devices={devices}: each further process would launch the sweep again. "
        "Use trainer.devices=1, or `wandb agent` with ${args_no_hyphens}, or Hydra's submitit launcher with "
        "tasks_per_node equal to the number of GPUs."
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
                f"plan names the stage {name!r}, but there is no stage.{name}.{_near(name, stages)}"
            )
    for name, stage in stages.items():
        problems += _stage_problems(f"stage.{name}", stage)
    problems += _trainer_problems("trainer", config.get("trainer") or {}, RUNNER_TRAINER_KEYS)
    problems += _clip_problems(config.get("clip") or {})
    problems += _target_problems(config, names)
    if problems:
        raise ConfigurationError("\n".join(problems))


def resolve_target(target: str) -> Callable[..., Any]:
    """The object a dotted ``target`` names.

    Raises:
        ConfigurationError: the module or the name in it does not exist, the module fails while it is imported
            (the cause is named), or the object can't be called.
    """
    parts = target.split(".")
    found: Any = None
    for place in range(1, len(parts) + 1):
        path = ".".join(parts[:place])
        if found is not None and hasattr(found, parts[place - 1]):
            found = getattr(found, parts[place - 1])
            continue
        if found is not None and not inspect.ismodule(found):
            raise ConfigurationError(f"{target!r}: {parts[place - 2]} has no {parts[place - 1]!r}.")
        found = _imported(target, path, found)
    if not callable(found) or inspect.ismodule(found):
        raise ConfigurationError(f"{target!r} is not a class or function.")
    return cast("Callable[..., Any]", found)


def _imported(target: str, path: str, parent: Any) -> Any:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise ConfigurationError(f"{target!r}: importing {path} failed: {error}.") from error
        name = path.rpartition(".")[2]
        where = (
            f"{parent.__name__} has no {name!r}." if parent is not None else f"there is no module {name!r}."
        )
        raise ConfigurationError(
            f"{target!r}: {where}{_near(name, dir(parent) if parent else ())}"
        ) from error
    except Exception as error:
        raise ConfigurationError(
            f"{target!r}: importing {path} failed: {type(error).__name__}: {error}"
        ) from error


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        if key and isinstance(error, MissingMandatoryValue):
            raise ConfigurationError(f"{key}: not set. Set it: {key}=VALUE.") from error
        reason = str(error).splitlines()[0]
        raise ConfigurationError(f"{key}: {reason}. Set it: {key}=VALUE." if key else reason) from error


def _top_level_problems(config: Mapping[str, Any]) -> Iterator[str]:
    yield from _unknown_keys("", config, TOP_LEVEL_KEYS)
    if not _is_int(config.get("checkpoint_every"), least=1):
        yield f"checkpoint_every: expected a whole number >= 1, found {config.get('checkpoint_every')!r}."
    if not _is_int(config.get("seed"), least=0):
        yield f"seed: expected a whole number >= 0, found {config.get('seed')!r}."
    threads = config.get("threads")
    if threads is not None and not _is_int(threads, least=1):
        yield f"threads: expected null or a whole number >= 1, found {threads!r}."
    if not isinstance(config.get("data"), Mapping):
        yield "data: no data named. Choose one, such as data=sample."
    for place, node in enumerate(config.get("finish") or []):
        if not isinstance(node, Mapping) or "_target_" not in node:
            yield f"finish[{place}]: expected a node with _target_, found {node!r}."


def _stage_problems(key: str, stage: Any) -> Iterator[str]:
    if not isinstance(stage, Mapping):
        yield f"{key}: expected a mapping with {', '.join(STAGE_KEYS)}, found {stage!r}."
        return
    yield from _unknown_keys(key, stage, STAGE_KEYS)
    if not isinstance(stage.get("module"), Mapping) or "_target_" not in stage["module"]:
        yield f"{key}.module: expected a node with _target_, found {stage.get('module')!r}."
    if not _is_int(stage.get("steps"), least=1):
        yield f"{key}.steps: expected a whole number >= 1, found {stage.get('steps')!r}."
    yield from _extension_problems(f"{key}.extend", stage.get("extend"))
    yield from _trainer_problems(
        f"{key}.trainer", stage.get("trainer") or {}, RUNNER_TRAINER_KEYS | RUN_TRAINER_KEYS
    )


def _clip_problems(clip: Mapping[str, Any]) -> Iterator[str]:
    """Roles are nodes with a ``_target_``; beside them stand the settings that go with their features."""
    for name, value in clip.items():
        if name not in CLIP_SETTINGS and not (isinstance(value, Mapping) and "_target_" in value):
            yield f"clip.{name}: no such key.{_near(str(name), (*CLIP_SETTINGS, 'prompts', 'identity'))}"


def _extension_problems(key: str, extend: Any) -> Iterator[str]:
    if extend is None:
        return
    if not isinstance(extend, Mapping) or set(extend) != set(EXTENSION_KEYS):
        yield f"{key}: expected null or {{above: LOSS, by: STEPS, at_most: TIMES}}, found {extend!r}."
        return
    if isinstance(extend["above"], bool) or not isinstance(extend["above"], int | float):
        yield f"{key}.above: expected a number, found {extend['above']!r}."
    if not _is_int(extend["by"], least=1):
        yield f"{key}.by: expected a whole number of steps >= 1, found {extend['by']!r}."
    if not _is_int(extend["at_most"], least=0):
        yield f"{key}.at_most: expected a whole number >= 0, found {extend['at_most']!r}."


def _trainer_problems(key: str, options: Mapping[str, Any], reserved: Collection[str]) -> Iterator[str]:
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
            yield f"{key}.{name}: Trainer has no such argument.{_near(name, known - set(reserved))}"


def _target_problems(config: Mapping[str, Any], planned: Collection[str]) -> Iterator[str]:
    """Every ``_target_`` must exist and take the keywords given; what the runner completes may lack some."""
    for key, node in _nodes(config):
        completed_later = key.endswith(".module") or key.startswith("finish[") or key in ("logger", "data")
        yield from _call_problems(key, node, complete=not (completed_later or node.get("_partial_")))
    data = config.get("data")
    if not isinstance(data, Mapping) or "_target_" not in data:
        return
    for name in planned:
        overrides = ((config.get("stage") or {}).get(name) or {}).get("data")
        if isinstance(overrides, Mapping):
            unknown = {name: value for name, value in overrides.items() if name not in data}
            yield from _call_problems(
                f"stage.{name}.data", {"_target_": data["_target_"], **unknown}, complete=False
            )
        merged = {**data, **(overrides if isinstance(overrides, Mapping) else {})}
        problems = list(_call_problems("data", merged, complete=True, only_missing=True))
        if problems:
            yield from problems
            return


def _call_problems(
    key: str, node: Mapping[str, Any], *, complete: bool, only_missing: bool = False
) -> Iterator[str]:
    try:
        target = resolve_target(str(node["_target_"]))
        signature = inspect.signature(target)
    except ConfigurationError as error:
        if not only_missing:
            yield f"{key}._target_: {error}"
        return
    except (TypeError, ValueError):  # builtins without a signature
        return
    parameters = signature.parameters
    given = set(node) - _HYDRA_KEYS
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if not takes_any and not only_missing:
        for name in sorted(given - set(parameters)):
            yield f"{key}.{name}: {node['_target_']} takes no {name!r}.{_near(name, parameters)}"
    if complete and not node.get("_args_"):
        missing = [
            name
            for name, parameter in parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            and name not in given
        ]
        for name in missing:
            yield f"{key}.{name}: {node['_target_']} needs it. Set {key}.{name}=VALUE."


def _nodes(node: Any, key: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping with a ``_target_``, outermost first."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield key, node
        for name, child in node.items():
            yield from _nodes(child, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for place, child in enumerate(node):
            yield from _nodes(child, f"{key}[{place}]")


def _unknown_keys(prefix: str, node: Mapping[str, Any], known: Collection[str]) -> Iterator[str]:
    for name in node:
        if name not in known:
            key = f"{prefix}.{name}" if prefix else str(name)
            yield f"{key}: no such key.{_near(str(name), known)}"


def _near(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, [str(k) for k in known if not str(k).startswith("_")], n=3)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def _is_int(value: Any, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least

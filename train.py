"""Compose a run, check it, train its stages, report. Start with ``python train.py experiment=quickstart``.

Exit status: 0 success, 2 a configuration mistake (one message, no traceback), 130 Ctrl-C, 128 + its number
after a signal that ended the run neatly (143 SIGTERM, 138 SIGUSR1, 140 SIGUSR2), 1 anything else.
Heavy imports stand inside functions, so that ``--cfg job`` and ``--help`` answer at once.
"""

from __future__ import annotations

import difflib
import errno
import os
import sys
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING

try:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf import DictConfig
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
    from yaml import YAMLError

    from relit.atomic import NO_SPACE
    from relit.errors import ConfigurationError, ProcessLost, TrainingFailed
    from relit.exit_status import exit_status
except ModuleNotFoundError as missing:
    print(
        f"train.py: {sys.executable} has no package {missing.name!r}\n"
        "`make quickstart` (or `make test`) sets up .venv; then call .venv/bin/python train.py, "
        "or activate it first: source .venv/bin/activate",
        file=sys.stderr,
    )
    raise SystemExit(2) from None

if TYPE_CHECKING:
    from collections.abc import Mapping

_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_READERS_OF_OVERRIDES = ("hydra._internal.config_loader_impl", "hydra.core.override_parser")


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Train one run; return the metric ``cfg.monitor`` names, for sweeps."""
    try:
        return _train(cfg)
    # SystemExit, because Hydra puts a line of its own in front of other exceptions
    except ConfigurationError as error:
        _remove_if_empty(Path(cfg.run_dir))
        _report(f"configuration error\n{error}")
        if _sweep_goes_on():
            raise
        raise SystemExit(2) from error
    except TrainingFailed as error:
        _report(f"training failed\n{error}", by_all=isinstance(error, ProcessLost))
        if _sweep_goes_on():
            raise
        raise SystemExit(1) from error
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        where = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        _report(f"the disk is full\n{where}", by_all=True)
        if _sweep_goes_on():
            raise
        raise SystemExit(1) from error


def _train(cfg: DictConfig) -> float | None:
    from relit.checks import check_configuration, check_environment, check_sweep

    hydra_cfg = HydraConfig.get()
    if hydra_cfg.mode == RunMode.MULTIRUN:
        check_sweep(cfg.trainer.devices, cfg.trainer.num_nodes, hydra_cfg.launcher)
    check_environment()
    check_configuration(cfg)

    from relit.memory import keep_large_allocations
    from relit.stages import run_stages
    from relit.sweep.trial import trial_of

    keep_large_allocations()
    metrics = run_stages(cfg, trial_of(hydra_cfg, cfg.name))
    if hydra_cfg.mode != RunMode.MULTIRUN:
        return None
    return _monitored(metrics, cfg.monitor)


def _monitored(metrics: Mapping[str, float], name: str | None) -> float | None:
    if name is None:
        return None
    if name not in metrics:
        known = ", ".join(sorted(metrics)) or "none"
        hint = " PSNR and SSIM need photographs with references." if name.endswith(("psnr", "ssim")) else ""
        raise ConfigurationError(f"monitor={name}: the run measured no such metric. Measured: {known}.{hint}")
    return float(metrics[name])


def _sweep_goes_on() -> bool:
    """Whether a table of ablations, or a study, notes a failure as this run's and goes on with the others."""
    hydra_cfg = HydraConfig.get()
    study = str(hydra_cfg.sweeper.get("_target_")).startswith("hydra_plugins.relit_sweeper.")
    return hydra_cfg.mode == RunMode.MULTIRUN and ("table" in hydra_cfg.callbacks or study)


def _remove_if_empty(run_dir: Path) -> None:
    # Hydra makes the directory before anything is checked
    if run_dir.is_dir() and not any(run_dir.iterdir()):
        run_dir.rmdir()


def _is_about_overrides(error: Exception) -> bool:
    """Whether ``error`` is a mistake in what was asked for: not one of a run's, nor a bug of a sweeper."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    passed = {(frame.f_globals["__name__"], frame.f_code.co_name) for frame in frames}
    # where Hydra hands on what a run has raised, in whichever process that was
    if ("hydra.core.utils", "return_value") in passed:
        return False
    if isinstance(error, HydraException | OmegaConfBaseException | YAMLError):
        return True
    # Hydra has plain ValueErrors for a few mistakes
    return any(module.startswith(_READERS_OF_OVERRIDES) for module, _ in passed)


def _composition_message(error: Exception) -> str:
    cause = error.__cause__
    lines = [line for line in str(error).splitlines() if not line.startswith("To append to your config use")]
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and isinstance(cause.parent_node, DictConfig):
        lines = [_unknown_key(str(cause.full_key), cause.parent_node)]
    elif isinstance(cause, OmegaConfBaseException):
        lines.append(str(cause).splitlines()[0])
    if "requires --multirun" in str(error):
        lines.append(
            "Give -m. With it, too, other mistakes are told that keep a sweep from being known as one."
        )
    if "submitit" in str(error):
        lines.append('SLURM jobs need Hydra\'s submitit launcher: pip install "relit[slurm]"')
    override = getattr(error, "override", None)
    if isinstance(override, str):
        lines.insert(0, f"The override {override!r} can't be read.")
    return "\n".join([*lines, "All keys: python train.py experiment=NAME --cfg job"])


def _unknown_key(key: str, parent: DictConfig) -> str:
    known = [str(name) for name in parent]
    near = difflib.get_close_matches(key.rpartition(".")[2], known, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known here: {', '.join(known) or 'nothing'}."
    return f"{key}: no such key. {hint}"


def _report(message: str, by_all: bool = False) -> None:
    """Print ``message``: once for all processes of the run, or ``by_all`` that it befalls."""
    if by_all or os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"train.py: {message}", file=sys.stderr)


def run() -> int:
    """Call :func:`main` and turn what it raises into an exit status."""
    # Without it Hydra prints and exits by itself, with status 1 for everything
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        main()
    except ConfigurationError as error:
        # a sweep's own, before or between its runs
        _report(f"configuration error\n{error}")
        return 2
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
        if not _is_about_overrides(error):
            raise
        _report(f"configuration error\n{_composition_message(error)}")
        return 2
    except OSError as error:
        # Hydra's own, too, who makes the run's directory before anything is checked
        if error.errno not in _FORBIDDEN or not error.filename:
            raise
        _report(f"{error.filename}: {error.strerror}", by_all=True)
        return 1
    except (KeyboardInterrupt, SystemExit) as stopped:
        return exit_status(stopped)
    return 0


if __name__ == "__main__":
    sys.exit(run())

"""Where a run's figures come from, by which code and photographs: ``provenance.json`` in its directory."""

from __future__ import annotations

import json
import platform
import subprocess
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from relit.atomic import atomic_write
from relit.data.datamodule import PhotoData
from relit.data.fingerprint import fingerprint
from relit.loggers import RunLogger
from relit.processes import from_rank_0

PROVENANCE_FILE = "provenance.json"


def code_version() -> dict[str, Any]:
    """``version`` of the package, ``commit`` of its checkout, and whether that is ``changed``.

    The latter two are None outside a checkout, or without git.
    """
    try:
        number: str | None = version("relit")
    except PackageNotFoundError:
        number = None
    # not the commit of another project in whose folder this one is installed
    tracked = _git("ls-files", "--error-unmatch", Path(__file__).name) is not None
    changes = _git("status", "--porcelain", "--untracked-files=no") if tracked else None
    return {
        "version": number,
        "commit": _git("rev-parse", "HEAD") if tracked else None,
        "changed": None if changes is None else bool(changes),
    }


def environment(device: torch.device, processes: int) -> dict[str, Any]:
    """On what a run is trained: host, devices, and the releases that its last bits depend on.

    Args:
        device: this process's.
        processes: of the run.
    """
    cuda = device.type == "cuda"
    return {
        "host": platform.node(),
        "device": torch.cuda.get_device_name(device) if cuda else device.type,
        "processes": processes,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "lightning")},
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def begin_sitting(run_dir: Path, logger: RunLogger | None, device: torch.device, processes: int = 1) -> None:
    """Note by which code, and on what, the run is begun or gone on with, in its directory and with its
    logger.

    Args:
        run_dir: the run's directory.
        logger: the run's, or None.
        device, processes: as :func:`environment` takes them.
    """
    code, around = code_version(), environment(device, processes)
    noted = read_provenance(run_dir)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    noted.setdefault("sittings", []).append({"time": now, **code, "environment": around})
    _write(run_dir, noted)
    if logger is not None:
        logger.note("code", code)
        logger.note("environment", around)


def read_provenance(run_dir: Path) -> dict[str, Any]:
    """What is noted of the run; empty where nothing can be read."""
    try:
        noted = json.loads((run_dir / PROVENANCE_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


class NoteData(Callback):
    """Note the photographs of a stage before it trains; warn if they are not those of an earlier sitting.

    Args:
        run_dir: the run's directory.
        stage: the stage's folder name: stages may see different photographs.
        logger: the run's, or None.
    """

    def __init__(self, run_dir: Path, stage: str, logger: RunLogger | None) -> None:
        self.run_dir, self.stage, self.logger = run_dir, stage, logger

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The data module has been set up."""
        data: Any = getattr(trainer, "datamodule", None)
        if isinstance(data, PhotoData):
            from_rank_0(trainer.strategy, lambda: self._note(fingerprint(data)))

    def _note(self, found: Mapping[str, str]) -> None:
        noted = read_provenance(self.run_dir)
        stages = noted.setdefault("data", {})
        known = stages.get(self.stage)
        if known is not None and known != found:
            roles = [role for role in sorted({*known, *found}) if known.get(role) != found.get(role)]
            changes = "; ".join(f"{role}: {known.get(role)} then, {found.get(role)} now" for role in roles)
            warnings.warn(
                f"stage {self.stage} goes on with other photographs than it was begun with ({changes})",
                stacklevel=1,
            )
        stages[self.stage] = dict(found)
        _write(self.run_dir, noted)
        if self.logger is not None:
            self.logger.note("photographs", stages)


def _write(run_dir: Path, noted: Mapping[str, Any]) -> None:
    atomic_write(run_dir / PROVENANCE_FILE, (json.dumps(noted, indent=2) + "\n").encode())


def _git(*arguments: str) -> str | None:
    """What git says of the folder of this file; None if it fails or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

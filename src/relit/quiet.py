"""What a run does not say, or says without a line of source."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

_default_format = warnings.formatwarning


def quieten() -> None:
    """Leave out what Lightning tells of itself, and print warnings of this package as messages to people."""
    _quieten_lightning()
    warnings.formatwarning = _plain_warning


def _quieten_lightning() -> None:
    # one Trainer per stage would repeat its devices and tips each time
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # but not what it says before it kills this process because another one has ended
    logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)
    # said of each Trainer wherever SLURM is installed, but only in a job is there something for srun to start
    # ("once" says it again: Python forgets what it has said as soon as anybody changes a filter)
    if "SLURM_JOB_ID" not in os.environ:
        warnings.filterwarnings("ignore", message=r"The `srun` command is available.*")
    # Lightning's own business with torch, and advice that is wrong for photos held in memory
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
    warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
    # which the message about validate_every says better
    warnings.filterwarnings("ignore", message=r".*Total length of .* across ranks is zero.*")
    # a rank, or the whole set, may have no photograph of some kind
    warnings.filterwarnings("ignore", message=r".*was called before the ``update``.*")


def _plain_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Our own warnings are for whoever started the run: the message alone, no line of source."""
    ours = category is UserWarning and Path(filename).is_relative_to(Path(__file__).parent)
    return f"warning: {message}\n" if ours else _default_format(message, category, filename, lineno, line)

"""How long commands take that compute nothing: help, and the configuration of a run.

Straightforward: a process that imports what a training script of this kind imports at its top. Relit imports
what a command needs when it needs it.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from benchmarks.tables import Table, speedups
from benchmarks.timing import interleaved

IMPORTS = "import hydra, torch, lightning, open_clip, torchmetrics, kornia"
COMMANDS = {
    "relit --help": ["-c", "from relit.cli import main; main(['--help'])"],
    "train.py --cfg job": ["train.py", "experiment=quickstart", "--cfg", "job"],
}


GOALS = {"relit --help": "under 1 s", "train.py --cfg job": "under 1.5 s"}


def run(repetitions: int = 3) -> list[Table]:
    """Seconds of a process that imports everything, and of the commands.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    tasks = {name: partial(_process, *arguments) for name, arguments in COMMANDS.items()}
    seconds = interleaved({"straightforward": partial(_process, "-c", IMPORTS), **tasks}, repetitions)
    rows = [(name, seconds["straightforward"], seconds[name], GOALS[name]) for name in COMMANDS]
    return [speedups("Commands that compute nothing", rows)]


def _process(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

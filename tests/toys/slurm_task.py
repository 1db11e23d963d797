"""The environment of a task that srun started, with a ``scontrol`` of the test's own."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest


def slurm_task(folder: Path, monkeypatch: pytest.MonkeyPatch, scontrol: str) -> None:
    """Put this process into job 7, with a shell script as ``scontrol`` on its path."""
    program = folder / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{scontrol}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    task = {"JOB_ID": 7, "JOB_NAME": "relit", "NTASKS": 1, "NTASKS_PER_NODE": 1, "NNODES": 1}
    for name, value in {**task, "PROCID": 0, "LOCALID": 0, "NODEID": 0, "NODELIST": "here"}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))

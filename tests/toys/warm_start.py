"""Start many real train.py processes cheaply: fork them from one that has imported the packages already."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["hydra", "lightning.pytorch", "torchmetrics", "open_clip", "relit.clip_loading", "relit.stages"]


@dataclass
class Finished:
    """How a process ended (a negative status is a signal) and what it said."""

    status: int
    said: str


@dataclass
class Running:
    """A train.py at work."""

    process: BaseProcess
    log: Path

    def wait(self, seconds: float = 900) -> Finished:
        self.process.join(seconds)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise TimeoutError(f"train.py still ran after {seconds} s:\n{self.log.read_text()}")
        assert self.process.exitcode is not None
        return Finished(self.process.exitcode, self.log.read_text())

    def kill_when(self, due: Callable[[], bool], seconds: float = 900) -> Finished:
        """SIGKILL as soon as ``due``; a process that ended before that comes back as from :meth:`wait`."""
        end = time.monotonic() + seconds
        while self.process.is_alive() and not due() and time.monotonic() < end:
            time.sleep(0.002)
        self.process.kill()
        return self.wait()


def start(
    arguments: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    file_size: int | None = None,
) -> Running:
    """``python train.py ARGUMENTS`` in ``cwd``, as a process of its own.

    Args:
        arguments: overrides.
        cwd: where relative paths start.
        environment: added to the environment.
        file_size: bytes that a file may have; as a full disk, to the process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PACKAGES)
    log = cwd / f"said-{time.monotonic_ns()}.txt"
    process = context.Process(
        target=_train, args=(list(arguments), str(cwd), str(log), dict(environment or {}), file_size)
    )
    process.start()
    return Running(process, log)


def _train(
    arguments: list[str], cwd: str, log: str, environment: dict[str, str], file_size: int | None
) -> None:
    with Path(log).open("wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(cwd)
    os.environ.update(environment)
    if file_size is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, -1))
    sys.argv = [str(ROOT / "train.py"), *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")

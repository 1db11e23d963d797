"""Two commands in one run directory: the second is refused; what died holds nothing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from toy_regression import toy_config

from relit.errors import ConfigurationError
from relit.run_lock import LOCK_FILE, RunLock
from relit.stages import run_stages

ROOT = Path(__file__).resolve().parents[1]
HOLD = """
import os, sys, time
from pathlib import Path
from relit.run_lock import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
child = os.fork() if "fork" in sys.argv else os.getpid()
if child == 0:
    time.sleep(30)
    os._exit(0)
print(child, flush=True)
sys.stdin.readline()
lock.release()
print("released", flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="locks of files are POSIX")


@contextmanager
def holder(run_dir: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it is sent a line, and lives on until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run_dir), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_second_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    with holder(tmp_path / "run") as other:
        pid = line(other)
        with pytest.raises(ConfigurationError, match=rf"run is in use by process {pid} on .*name=other"):
            RunLock(tmp_path / "run").acquire()
        RunLock(tmp_path / "elsewhere").acquire()
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
        assert line(other) == "released"
        # while the other process lives
        lock = RunLock(tmp_path / "run")
        lock.acquire()
        assert (tmp_path / "run" / LOCK_FILE).read_text().startswith(f"process {os.getpid()} on ")
        lock.release()
        assert (tmp_path / "run" / LOCK_FILE).read_text() == ""


def test_a_killed_process_holds_nothing_though_its_children_live(tmp_path: Path) -> None:
    # a data loader's worker is such a child
    with holder(tmp_path, "fork") as other:
        child = int(line(other))
        with pytest.raises(ConfigurationError):
            RunLock(tmp_path).acquire()
        other.kill()
        other.wait()
        os.kill(child, 0)
        lock = RunLock(tmp_path)
        lock.acquire()
        lock.release()
        os.kill(child, 9)


def test_a_file_system_without_locks_is_told_of_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.lockf", refuse)
    lock = RunLock(tmp_path)
    with pytest.warns(UserWarning, match="no locks"):
        lock.acquire()
    lock.release()


def test_a_run_leaves_a_directory_alone_that_is_in_use(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    options = {"plan": ["first"], "logger": None}
    with holder(run_dir) as other:
        line(other)
        with pytest.raises(ConfigurationError, match="in use"):
            run_stages(toy_config(run_dir, fresh=True, **options))
        assert [path.name for path in run_dir.iterdir()] == [LOCK_FILE]
    run_stages(toy_config(run_dir, **options))
    # in one process one run after another
    run_stages(toy_config(run_dir, **options))

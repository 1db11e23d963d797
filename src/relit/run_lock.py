"""One run directory, one run: a second command that names it is refused."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import warnings
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # no POSIX
    fcntl = None  # type: ignore[assignment]

from relit.errors import RunInUse

LOCK_FILE = "run.lock"


class RunLock:
    """A lock on a run directory, held by one process of the run, its rank 0.

    It is the kernel's lock on ``run.lock`` (``fcntl``), not the file: it ends with the process that holds it,
    however that ends, so nothing stale is left. Data loaders' workers do not inherit it. On NFS it holds
    among machines; what a machine held that died is free when the server gives up on it. Where a file system
    has no locks (some that stand on object stores) there is a warning and no protection.

    Args:
        run_dir: the run's directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / LOCK_FILE
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            RunInUse: another process holds it.
        """
        if fcntl is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 1000).decode(errors="replace").strip()
            os.close(descriptor)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                warnings.warn(
                    f"{self.path}: this file system has no locks ({error.strerror}); see to it that no "
                    "other command uses the run's directory",
                    stacklevel=2,
                )
                return
            raise RunInUse(
                f"{self.path.parent} is in use by {holder or 'another process'}. Let it end, or stop it: the "
                "same command goes on from its checkpoint. name=other trains elsewhere. If its machine is "
                f"gone and its lock is not, delete {self.path}."
            ) from error
        self._descriptor = descriptor
        self._note(f"process {os.getpid()} on {socket.gethostname()}\n")

    def release(self) -> None:
        """Give it back, if it is held. The file stays: to delete it would race with others that open it."""
        if self._descriptor is not None:
            self._note("")
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _note(self, holder: str) -> None:
        """Say in the file who holds the lock; that is a courtesy, which a full disk may prevent."""
        assert self._descriptor is not None
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, holder.encode())


def in_use(run_dir: Path) -> bool:
    """Whether another process has the run in ``run_dir`` at this moment."""
    lock = RunLock(run_dir)
    try:
        lock.acquire()
    except RunInUse:
        return True
    lock.release()
    return False

"""Files that are either whole or absent, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO

NO_SPACE = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
"""Numbers of the errors that say so: the disk, the size of a file, a quota."""


class DiskFull(OSError):  # noqa: N818 (it says what happened, as FileNotFound does)
    """The disk, a quota or the file size limit is exhausted; the message names the path and the remedy."""


def atomic_write(
    path: str | Path, content: bytes | Callable[[IO[bytes]], object], older: Path | None = None
) -> None:
    """Replace ``path`` by ``content`` in one step: readers see the old file or the new one, never a part.

    The bytes go to a temporary file in the same folder, are forced to the disk, and the file is then renamed.
    On any failure the temporary file is removed and an older ``path`` stays as it was. Missing folders are
    created.

    Args:
        path: the file to write.
        content: the bytes, or a function that writes them to the open binary file it is given.
        older: in the same folder: the name that an older ``path`` gets, once ``content`` is on the disk.

    Raises:
        DiskFull: no space is left, a quota is used up, or the file would exceed the size limit.
        OSError: ``path`` can't be written for another reason; it is what the error names.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_and_rename(path, content, older)
    except Exception as error:
        exhausted = _exhaustion(error)
        if exhausted is None:
            raise
        reason = "no space left to write this file; free space, then run the same command to continue"
        raise DiskFull(exhausted.errno, reason, str(path)) from error


def check_writable(path: str | Path) -> None:
    """Raise, before long work, the :class:`OSError` that :func:`atomic_write` would raise after it.

    Only what can be seen at the folder is; nothing is left behind, and folders that are missing stay so.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    folder = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    temporary = _temporary(folder)
    try:
        temporary.open("xb").close()
        temporary.unlink()
    except OSError as error:
        raise _naming(path, error) from error


def _temporary(folder: Path) -> Path:
    return folder / f".{secrets.token_hex(8)}.tmp"


def _naming(path: Path, error: OSError) -> OSError:
    """``error``, but of the file that was asked for."""
    return type(error)(error.errno, error.strerror, str(path))


def _write_and_rename(path: Path, content: bytes | Callable[[IO[bytes]], object], older: Path | None) -> None:
    temporary = _temporary(path.parent)
    try:
        with temporary.open("xb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        if older is not None and path.exists():
            _keep(path, older)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and str(error.filename) == str(temporary):
            raise _naming(path, error) from error
        raise
    _sync_folder(path.parent)


def _keep(path: Path, older: Path) -> None:
    """Have ``path`` under the name ``older``, too; if the file system has no links, under that name only."""
    link = _temporary(path.parent)
    try:
        os.link(path, link)
    except OSError:
        path.replace(older)
    else:
        link.replace(older)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the system lets a folder be opened and synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _exhaustion(error: BaseException | None) -> OSError | None:
    """The error in the chain that says the disk is full: ``torch.save``, for one, raises its own on top."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            return error
        error = error.__cause__ or error.__context__
    return None

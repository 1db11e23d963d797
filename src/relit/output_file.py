"""The one file that a command was asked to write: refused before the work, not after it."""

from __future__ import annotations

from pathlib import Path

from relit.atomic import check_writable
from relit.errors import ConfigurationError


def check_output(path: Path, force: bool) -> None:
    """Find out whether ``path`` may and can be written.

    Args:
        path: the file.
        force: whether an older one may be replaced.

    Raises:
        ConfigurationError: it is a folder, or exists and may not be replaced.
        OSError: it can't be written.
    """
    if path.is_dir():
        raise ConfigurationError(f"{path}: is a folder. Give the name of a file in it.")
    if path.exists() and not force:
        raise ConfigurationError(f"{path}: exists. Give another name, or --force to replace it.")
    check_writable(path)

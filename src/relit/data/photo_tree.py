"""Photographs of a folder and of all folders below it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from relit.data.files import OTHER_EXTENSIONS, photos_in
from relit.errors import ConfigurationError


def photos_below(folder: Path, but: Path | None = None) -> list[Path]:
    """The photographs in ``folder`` and below it, sorted folder by folder; nothing hidden, no linked folders.

    Args:
        folder: where to look.
        but: a folder below it that is left out.

    Raises:
        ConfigurationError: ``folder`` is missing, or no photograph is found.
        OSError: a folder can't be read.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ConfigurationError(f"{folder}: {what}. Name a folder of photographs.")
    found: list[Path] = []
    for place, folders, _ in os.walk(folder, onerror=_fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if but is not None:
            folders[:] = [name for name in folders if (Path(place) / name).resolve() != but.resolve()]
        found += photos_in(Path(place))
    if not found:
        raise ConfigurationError(f"{folder}: no photographs in it or below. Name a folder that holds some.")
    return found


def others_below(folder: Path) -> dict[str, int]:
    """How many photographs in ``folder`` or below it are of kinds that are not read, by extension."""
    names = (name for _, _, names in os.walk(folder) for name in names if not name.startswith("."))
    found = Counter(Path(name).suffix.lower() for name in names)
    return {kind: found[kind] for kind in OTHER_EXTENSIONS if found[kind]}


def _fail(error: OSError) -> None:
    raise error

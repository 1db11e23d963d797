"""DIV2K from its publisher, and a selection of it as large as CLIP-LIT's."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from relit.data.download import extract, fetch
from relit.data.files import photos_in, same_name
from relit.data.layouts.div2k import DIV2K
from relit.errors import ConfigurationError


class Published(NamedTuple):
    """A file as its publisher offers it: address, length in bytes and MD5."""

    url: str
    size: int
    md5: str


DIV2K_TRAIN_HR = Published(
    "https://data.vision.ee.ethz.ch/cvl/DIV2K/DIV2K_train_HR.zip",
    3_530_603_713,
    "bdc2d9338d4e574fe81bf7d158758658",
)


def fetch_div2k(layout: DIV2K, root: Path, progress: bool) -> tuple[Path, str]:
    """The folder ``DIV2K_384``, and what to know about it, if it was not there but is made now.

    Then it holds links to 384 of the photographs of ``DIV2K_train_HR``, drawn by a fixed key: which of them
    CLIP-LIT's authors took, the archive does not tell. It is downloaded to ``root`` and unpacked if need be.

    Raises: :class:`ConfigurationError`, and what :func:`~relit.data.download.fetch` raises.
    """
    chosen, everything = layout.folders
    home = _home_or_none(layout, root) or root / everything
    if same_name(home.absolute().name) == same_name(chosen):
        return home, ""
    beside = home.absolute().parent
    if not home.is_dir() or len(photos_in(home)) < layout.folders[everything]:
        archive = beside / f"{everything}.zip"
        fetch(DIV2K_TRAIN_HR.url, archive, DIV2K_TRAIN_HR.size, DIV2K_TRAIN_HR.md5, progress)
        extract(archive, beside, progress)
        home = beside / everything
    folder = link_folder(drawn(photos_in(home), layout.folders[chosen]), beside / chosen)
    note = f"{folder}: drawn by a fixed key; which photographs CLIP-LIT's authors took may differ"
    return folder, note


def drawn(paths: Sequence[Path], count: int) -> list[Path]:
    """``count`` of ``paths``, in their order: a draw that depends on their names alone."""
    chosen = set(
        sorted(paths, key=lambda path: hashlib.blake2b(f"DIV2K {path.stem}".encode()).digest())[:count]
    )
    return [path for path in paths if path in chosen]


def link_folder(files: Sequence[Path], folder: Path) -> Path:
    """A folder of hard links to ``files``, or of copies where the disk knows no links; whole or absent."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for path in files:
        try:
            os.link(path, part / path.name)
        except OSError:
            shutil.copy2(path, part / path.name)
    part.rename(folder)
    return folder


def _home_or_none(layout: DIV2K, root: Path) -> Path | None:
    if root.exists() and not root.is_dir():
        raise ConfigurationError(f"{root}: is not a folder: name the one that DIV2K is to go to")
    try:
        return layout.home(root)
    except ConfigurationError:
        return None

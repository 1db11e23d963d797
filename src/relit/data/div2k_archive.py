"""DIV2K from its publisher, and a selection of it as large as CLIP-LIT's."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from relit.data.download import extract, fetch
from relit.data.few import few
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
    CLIP-LIT's authors took, the archive does not tell. It is downloaded to ``root`` and unpacked if need be;
    where only a part is there, what is missing is told on the standard error stream, if ``progress``.

    Raises: :class:`ConfigurationError`, and what :func:`~relit.data.download.fetch` raises.
    """
    chosen, everything = layout.folders
    home = _home_or_none(layout, root) or root / everything
    if same_name(home.absolute().name) == same_name(chosen):
        return home, ""
    beside = home.absolute().parent
    missing = _missing(home, layout.folders[everything])
    if missing:
        if progress and home.is_dir():
            print(f"{home}: lacks {few(missing)}, so the archive (3.5 GB) is taken", file=sys.stderr)
        archive = beside / f"{everything}.zip"
        fetch(DIV2K_TRAIN_HR.url, archive, DIV2K_TRAIN_HR.size, DIV2K_TRAIN_HR.md5, progress)
        extract(archive, beside, progress)
        home = beside / everything
    folder = link_folder(drawn(photos_in(home), layout.folders[chosen]), beside / chosen)
    note = f"{folder}: drawn by a fixed key; which photographs CLIP-LIT's authors took may differ"
    return folder, note


def drawn(paths: Sequence[Path], count: int) -> list[Path]:
    """``count`` of ``paths``, in their order: a draw that depends on their names alone."""
    keys = {path: hashlib.blake2b(b"DIV2K " + os.fsencode(path.stem)).digest() for path in paths}
    chosen = set(sorted(paths, key=keys.__getitem__)[:count])
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


def _missing(home: Path, count: int) -> list[str]:
    """Numbers of photographs that lack to ``count``; none where there are as many under other names."""
    there = {path.stem for path in photos_in(home)} if home.is_dir() else set()
    numbers = [f"{number:04}" for number in range(1, count + 1)]
    return [number for number in numbers if number not in there] if len(there) < count else []


def _home_or_none(layout: DIV2K, root: Path) -> Path | None:
    try:
        return layout.home(root)
    except ConfigurationError:
        return None

"""In what condition photograph files are: their size, or why they can't be read."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from relit.data.decoding import UnreadablePhoto, decode, header_size

Condition = tuple[int, int] | str
"""Upright height and width in pixels, or why the file can't be read."""


def conditions(paths: Sequence[Path], deep: bool = False, progress: bool = False) -> dict[Path, Condition]:
    """The condition of every file, found in threads: decoders work outside of Python's lock.

    Args:
        paths: the files.
        deep: whether each is decoded; otherwise its header and its end are read, which takes a hundredth of
            the time and misses damage in between. A PNG has checksums, a JPEG none: of foreign bytes in
            its pixels those are found that no decoder takes for pixels, most of the time in 512 of them.
        progress: whether a bar on the standard error stream tells how far this is.
    """

    def condition(path: Path) -> Condition:
        try:
            size = header_size(path)
            if deep:
                decode(path)
        except UnreadablePhoto as error:
            return error.reason or str(error)
        return size

    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        found = tqdm(
            pool.map(condition, unique),
            total=len(unique),
            desc="decoding" if deep else "reading headers",
            unit=" photos",
            file=sys.stderr,
            disable=not progress,
        )
        return dict(zip(unique, found, strict=True))

"""In what condition photograph files are: their size, or why they can't be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from relit.data.decoding import UnreadablePhoto, decode, header_size
from relit.data.threads import in_threads

Condition = tuple[int, int] | str
"""Upright height and width in pixels, or why the file can't be read."""


def conditions(paths: Sequence[Path], deep: bool = False, progress: bool = False) -> dict[Path, Condition]:
    """The condition of every file.

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
    doing = ("decoding" if deep else "reading headers") if progress else None
    return dict(zip(unique, in_threads(condition, unique, doing), strict=True))

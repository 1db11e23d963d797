"""Reduced copies of photographs, for training on large ones without decoding them in full each time."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from tqdm import tqdm

from relit.atomic import DiskFull, atomic_write
from relit.data.decoding import UnreadablePhoto, decode
from relit.data.sizes import reduced_size


class Copies(NamedTuple):
    """What became of photographs that were to be copied.

    Attributes:
        paths: the copy of each original that has one.
        made: how many of them were written now; the others were there already.
        failed: originals without a copy, and why.
    """

    paths: dict[Path, Path]
    made: int
    failed: dict[Path, str]


def copy_reduced(
    files: Iterable[Path], base: Path, folder: Path, long_side: int, progress: bool = False
) -> Copies:
    """Copy photographs as upright 8-bit sRGB PNG, reduced to ``long_side`` where they are larger.

    A copy lies below ``folder`` as its original does below ``base``. One that is newer than its original is
    kept, so that the same call goes on after an interruption. Photographs that can't be read are counted, and
    the others copied.

    Args:
        files: photographs below ``base``.
        long_side: in pixels.
        progress: whether a bar on the standard error stream tells how far this is, where that is a terminal.

    Raises: :class:`~relit.atomic.DiskFull` at once.
    """
    originals: dict[Path, Path] = {}
    failed = {}
    for path in dict.fromkeys(files):
        copy = folder / path.relative_to(base).with_suffix(".png")
        if originals.setdefault(copy, path) != path:
            failed[path] = f"named like {originals[copy].name}, which is copied to {copy.name}"

    def task(copy: Path) -> bool | str:
        """Whether ``copy`` was written, or why it can't be."""
        original = originals[copy]
        try:
            if _is_newer(copy, original):
                return False
            _write_png(copy, reduced(decode(original), long_side))
        except DiskFull:
            raise
        except UnreadablePhoto as error:
            return error.reason
        except OSError as error:
            return (error.strerror or str(error)).lower()
        return True

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        try:
            outcomes = list(
                tqdm(
                    pool.map(task, originals),
                    total=len(originals),
                    desc="copying",
                    unit=" photos",
                    disable=None if progress else True,
                )
            )
        except BaseException:
            pool.shutdown(cancel_futures=True)  # or an interruption would wait for all that is queued
            raise
    paths = {}
    for (copy, original), outcome in zip(originals.items(), outcomes, strict=True):
        if isinstance(outcome, str):
            failed[original] = outcome
        else:
            paths[original] = copy
    return Copies(paths, sum(outcome is True for outcome in outcomes), failed)


def reduced(image: Image.Image, long_side: int) -> Image.Image:
    """At most ``long_side`` pixels a side, in proportion, bicubic; ``image`` itself if it is no larger."""
    height, width = reduced_size(image.height, image.width, long_side)
    if (width, height) == image.size:
        return image
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _is_newer(copy: Path, original: Path) -> bool:
    return copy.exists() and copy.stat().st_mtime_ns >= original.stat().st_mtime_ns


def _write_png(path: Path, image: Image.Image) -> None:
    encoded = io.BytesIO()
    image.save(encoded, format="PNG")
    atomic_write(path, encoded.getvalue())

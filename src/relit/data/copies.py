"""Reduced copies of photographs, for training on large ones without decoding them in full each time."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from relit.atomic import DiskFull, atomic_write
from relit.data.decoding import UnreadablePhoto, decode
from relit.data.sizes import reduced_size
from relit.data.threads import in_threads


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
    files: Iterable[Path],
    base: Path,
    folder: Path,
    long_side: int,
    whole: Callable[[Path], Path] = lambda path: path,
    progress: bool = False,
) -> Copies:
    """Copy photographs as upright 8-bit sRGB PNG, reduced to ``long_side`` where they are larger.

    A copy lies below ``folder`` as its original does below ``base``, and has its time of modification. Where
    the times are equal the copy is kept, so that the same call goes on after an interruption. Photographs
    that can't be read are counted, and the others copied.

    Args:
        files: photographs below ``base``.
        long_side: in pixels.
        whole: tells what a photograph belongs to that is copied as a whole or not at all.
        progress: whether a bar on the standard error stream tells how far this is.

    Raises: :class:`~relit.atomic.DiskFull` at once.
    """
    originals, failed = _plan(files, base, folder)
    done = in_threads(
        lambda copy: _copy(originals[copy], copy, long_side),
        list(originals),
        "copying" if progress else None,
    )
    outcomes = dict(zip(originals, done, strict=True))
    failed |= {originals[copy]: found for copy, found in outcomes.items() if isinstance(found, str)}
    lacking = {whole(original): original.name for original in failed}
    for copy, original in originals.items():
        if original not in failed and whole(original) in lacking:
            copy.unlink()
            failed[original] = f"left out with {lacking[whole(original)]}, which has no copy"
    paths = {original: copy for copy, original in originals.items() if original not in failed}
    return Copies(paths, sum(outcomes[copy] is True for copy in paths.values()), failed)


def reduced(image: Image.Image, long_side: int) -> Image.Image:
    """At most ``long_side`` pixels a side, in proportion, bicubic; the same pixels if it is no larger."""
    height, width = reduced_size(image.height, image.width, long_side)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _plan(files: Iterable[Path], base: Path, folder: Path) -> tuple[dict[Path, Path], dict[Path, str]]:
    """The original of each copy, and originals that would have another's copy, with the reason."""
    originals: dict[Path, Path] = {}
    failed = {}
    for path in dict.fromkeys(files):
        copy = folder / path.relative_to(base).with_suffix(".png")
        if originals.setdefault(copy, path) != path:
            failed[path] = f"named like {originals[copy].name}, which is copied to {copy.name}"
    return originals, failed


def _copy(original: Path, copy: Path, long_side: int) -> bool | str:
    """Whether ``copy`` was written, or why it can't be; then there is none."""
    try:
        modified = original.stat().st_mtime_ns
        if copy.exists() and copy.stat().st_mtime_ns == modified:
            return False
        _write_png(copy, reduced(decode(original), long_side))
        os.utime(copy, ns=(modified, modified))
    except DiskFull:
        raise
    except (UnreadablePhoto, OSError) as error:
        with contextlib.suppress(OSError):
            copy.unlink()
        reason = error.reason if isinstance(error, UnreadablePhoto) else (error.strerror or "").lower()
        return reason or str(error)
    return True


def _write_png(path: Path, image: Image.Image) -> None:
    encoded = io.BytesIO()
    image.save(encoded, format="PNG")
    atomic_write(path, encoded.getvalue())

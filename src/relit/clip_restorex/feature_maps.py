"""Feature maps of large photographs: in memory as long as they fit there, in files beyond."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor

IN_MEMORY = 2**28
"""Bytes of a map on the CPU above which it lies in a file; that at full size takes 384 a pixel."""


class NoRoom(MemoryError):  # noqa: N818 - it says what is the matter
    """A folder without room for the maps of a photograph; the message names it and the remedy."""


def feature_map(like: Tensor, channels: int, height: int, width: int) -> Tensor:
    """A map (B, channels, height, width) to be written to, channels last; batch, type and device of ``like``.

    On the CPU one above :data:`IN_MEMORY` is a mapped file, whose pages the system takes back where memory
    runs short. The file has no name any more: it is gone with the map, even if the process is killed.

    Raises:
        NoRoom: the file can't be made.
    """
    shape = (len(like), channels, height, width)
    size = math.prod(shape)
    if like.device.type != "cpu" or size * like.element_size() <= IN_MEMORY:
        return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
    return _mapped(size, like.dtype).view(len(like), height, width, channels).permute(0, 3, 1, 2)


def _mapped(size: int, dtype: torch.dtype) -> Tensor:
    need, folder = size * dtype.itemsize, _folder()
    try:
        with tempfile.NamedTemporaryFile(prefix="relit-map-", dir=folder) as file:
            _claim(file.fileno(), need)
            return torch.from_file(file.name, shared=True, size=size, dtype=dtype)
    except OSError as error:
        raise NoRoom(
            f"{folder}: no room for {need / 2**30:.1f} GB of feature maps ({error.strerror}); name a folder "
            "that has some in TMPDIR, or reduce the photograph"
        ) from error


def _folder() -> str:
    """What TMPDIR names, or else ``/var/tmp``: ``/tmp`` is memory on some systems."""
    usual = Path("/var/tmp")
    return str(usual) if "TMPDIR" not in os.environ and usual.is_dir() else tempfile.gettempdir()


def _claim(file: int, size: int) -> None:
    """Give a file its size, and where the system can its place on the disk.

    A full disk is then told here, and not by a signal when a page is first written.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)

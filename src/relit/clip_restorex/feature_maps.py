"""Feature maps of large photographs: in memory as long as they fit there, in files beyond."""

from __future__ import annotations

import math
import os
import tempfile

import torch
from torch import Tensor

from relit.errors import ConfigurationError

IN_MEMORY = 2**30
"""Bytes of a map on the CPU above which it lies in a file; that at full size takes 384 a pixel."""


def feature_map(like: Tensor, channels: int, height: int, width: int) -> Tensor:
    """A map (B, channels, height, width) to be written to, channels last; batch, type and device of ``like``.

    On the CPU one above :data:`IN_MEMORY` is a mapped file, whose pages the system takes back where memory
    runs short. The file has no name any more: it is gone with the map, even if the process is killed.

    Raises:
        ConfigurationError: the file can't be made; the message names its folder.
    """
    shape = (len(like), channels, height, width)
    size = math.prod(shape)
    if like.device.type != "cpu" or size * like.element_size() <= IN_MEMORY:
        return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
    return _mapped(size, like.dtype).view(len(like), height, width, channels).permute(0, 3, 1, 2)


def _mapped(size: int, dtype: torch.dtype) -> Tensor:
    need = size * dtype.itemsize
    try:
        with tempfile.NamedTemporaryFile(prefix="relit-map-") as file:
            # claimed at once: a full disk is told here, not by a signal when a page is first written
            os.posix_fallocate(file.fileno(), 0, need)
            return torch.from_file(file.name, shared=True, size=size, dtype=dtype)
    except OSError as error:
        raise ConfigurationError(
            f"{tempfile.gettempdir()}: no room for {need / 2**30:.1f} GB of feature maps ({error.strerror}). "
            "Name a folder that has some in TMPDIR, or reduce the photograph with --max-pixels N."
        ) from error

"""Decoded photographs on disk, mapped into memory: each is decoded once, whoever trains on it later."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor

from relit.atomic import atomic_write
from relit.data.duplicates import content_key

# Count up when the pixels change that the decoder or a transform makes of the same file.
_DECODER_VERSION = 1
# An entry is a .npy file, whose header has this length for every shape of a photograph.
_HEADER_BYTES = 128
_SHAPE = re.compile(rb"'shape': \(3, ([1-9]\d*), ([1-9]\d*)\)")

_full_or_read_only: set[Path] = set()
_writing = Lock()


class PhotoCache:
    """Decoded photographs below a folder, by the content of their files and the transform applied.

    Several processes may share the folder, and it may be deleted at any time. A damaged entry is made anew.
    Where entries can't be written, one warning says why, and what is not there yet is decoded each time.

    Args:
        folder: where they are kept; made when it is missing.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).expanduser()

    def read(self, path: Path, transform: str, decode: Callable[[Path], Tensor]) -> Tensor:
        """The photograph at ``path`` as ``decode`` gives it: uint8, shape (3, H, W).

        It may be written to, which changes neither the file nor the cache. From the cache, pixels are read
        from disk when they are used.

        Args:
            path: the photograph; its content decides, not its name.
            transform: what ``decode`` does besides decoding.
            decode: called when there is no entry; what it raises is passed on and nothing is kept.
        """
        try:
            state = _state(path)
            entry = self._entry(_remembered_key(path, *state), transform)
        except OSError:
            return decode(path)
        photo = _mapped(entry)
        if photo is None:
            photo = decode(path)
            self._keep(entry, photo, path, state)
        return photo

    def _entry(self, content: str, transform: str) -> Path:
        described = f"{content}, {transform}, decoder {_DECODER_VERSION}"
        key = hashlib.blake2b(described.encode(), digest_size=16).hexdigest()
        return self.folder / key[:2] / f"{key}.npy"

    def _keep(self, entry: Path, photo: Tensor, path: Path, state: tuple[int, int, int]) -> None:
        """Write an entry, unless writing failed before or the file at ``path`` changed meanwhile."""
        if self.folder in _full_or_read_only:
            return
        try:
            if _state(path) == state:
                pixels = photo.contiguous().numpy()
                header = _header(photo.shape[1], photo.shape[2])
                atomic_write(entry, lambda file: (file.write(header), file.write(pixels.data)))
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        with _writing:
            if self.folder in _full_or_read_only:
                return
            _full_or_read_only.add(self.folder)
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        warnings.warn(
            f"data.cache_dir: no more decoded photographs can be kept in {self.folder} ({reason}); those that "
            "are not there are decoded each time. Free space there, name another folder with "
            "data.cache_dir=DIR, or decode on purpose with data.cache=false",
            stacklevel=4,
        )


def _state(path: Path) -> tuple[int, int, int]:
    """What changes with the content of a file: its length and the times of its last changes."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


@lru_cache(maxsize=2**20)
def _remembered_key(path: Path, *state: int) -> str:
    return content_key(path)


def _header(height: int, width: int) -> bytes:
    described = f"{{'descr': '|u1', 'fortran_order': False, 'shape': (3, {height}, {width}), }}".encode()
    start = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
    return (start + described).ljust(_HEADER_BYTES - 1) + b"\n"


def _mapped(entry: Path) -> Tensor | None:
    """The pixels of an entry, or None where there is none or it is not whole."""
    try:
        with entry.open("rb", buffering=0) as file:
            header = file.read(_HEADER_BYTES)
            length = os.fstat(file.fileno()).st_size
        shape = _SHAPE.search(header)
        if shape is None:
            return None
        height, width = map(int, shape.groups())
        if header != _header(height, width) or length != _HEADER_BYTES + 3 * height * width:
            return None
        # Maps a private copy and closes the file, which mmap.mmap would hold open as long as the tensor lives.
        stored = torch.from_file(str(entry), shared=False, size=length, dtype=torch.uint8)
    except (OSError, RuntimeError):  # from_file raises RuntimeError for what is OSError elsewhere
        return None
    return stored[_HEADER_BYTES:].view(3, height, width)

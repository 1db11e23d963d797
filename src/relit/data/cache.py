"""Decoded photographs on disk, mapped into memory: each is decoded once, whoever trains on it later."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

from relit.atomic import atomic_write
from relit.data.duplicates import content_key

# Count up when the pixels change that the decoder or a transform makes of the same file.
_DECODER_VERSION = 2
# An entry is a .npy file, whose header has this length for every shape of a photograph.
_HEADER_BYTES = 128
_SHAPE = re.compile(rb"'shape': \(3, ([1-9]\d*), ([1-9]\d*)\)")

# Folders that this process has given up writing to.
_given_up: set[Path] = set()
_giving_up = Lock()


class _State(NamedTuple):
    """What changes with the content of a file: its length and the times of its last changes."""

    length: int
    modified: int
    changed: int


class PhotoCache:
    """Decoded photographs below a folder, by the content of their files and the transform applied.

    Several processes may share the folder, and it may be deleted at any time. An entry that is cut off or has
    a damaged header is made anew. Where none can be written, one warning says why, and what is not there is
    decoded each time.

    Args:
        folder: where they are kept; made when it is missing.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).expanduser()
        self._contents: dict[Path, tuple[_State, str]] = {}

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
            entry = self._entry(self._content(path, state), transform)
        except OSError:  # what is wrong with it, decode says
            return decode(path)
        photo = _mapped(entry)
        if photo is None:
            photo = decode(path)
            with suppress(OSError):  # the file is gone
                if _state(path) == state:  # it is still the one whose content was looked at
                    self._keep(entry, photo)
        return photo

    def _content(self, path: Path, state: _State) -> str:
        """The key of a file's content; the file is read only when its state is not the one last seen."""
        seen, key = self._contents.get(path, (None, ""))
        if seen != state:
            key = content_key(path)
            self._contents[path] = state, key
        return key

    def _entry(self, content: str, transform: str) -> Path:
        described = f"{content}, {transform}, decoder {_DECODER_VERSION}"
        key = hashlib.blake2b(described.encode(), digest_size=16).hexdigest()
        return self.folder / key[:2] / f"{key}.npy"

    def _keep(self, entry: Path, photo: Tensor) -> None:
        """Write an entry, unless writing failed before."""
        if self.folder in _given_up:
            return
        header, pixels = _header(photo.shape[1], photo.shape[2]), photo.contiguous().numpy()
        try:
            atomic_write(entry, lambda file: file.writelines((header, pixels.data)))
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        with _giving_up:
            if self.folder in _given_up:
                return
            _given_up.add(self.folder)
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        warnings.warn(
            f"data.cache_dir: no more decoded photographs can be kept in {self.folder} ({reason}); "
            "those that are not there are decoded each time. Free space there, name another folder with "
            "data.cache_dir=DIR, or decode on purpose with data.cache=false",
            stacklevel=4,
        )


def _state(path: Path) -> _State:
    found = path.stat()
    return _State(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


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
        # Maps a private copy and closes the file; mmap.mmap would hold it open as long as the tensor lives.
        stored = torch.from_file(str(entry), shared=False, size=length, dtype=torch.uint8)
    except (OSError, RuntimeError):  # from_file raises RuntimeError for what is OSError elsewhere
        return None
    return stored[_HEADER_BYTES:].view(3, height, width)

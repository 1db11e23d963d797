"""Downloads that go on where they stopped, and archives that are unpacked whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

from relit.atomic import DiskFull, atomic_write
from relit.errors import ConfigurationError

ATTEMPTS = 5
_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte
# What a server answers that it may answer differently a moment later.
_PASSING = {408, 425, 429, 500, 502, 503, 504}


class DownloadFailed(OSError):  # noqa: N818 (it says what happened, as FileNotFound does)
    """A file could not be had: ``filename`` is its URL, ``strerror`` what was tried and the remedy."""


class _Broken(Exception):  # noqa: N818
    """The connection ended too early; asking again may help."""


def fetch(
    url: str, target: Path | str, size: int, md5: str, progress: bool = True, pause: float = 1.0
) -> None:
    """Download a file whose length and checksum are known; what is there already is not downloaded again.

    The bytes go to ``target`` with ``.part`` appended, where the next attempt, or the next call, goes on.
    ``target`` itself appears when it is complete and its checksum is right. ``http_proxy`` and
    ``https_proxy`` are honoured.

    Args:
        size: length in bytes.
        md5: in hexadecimal digits.
        progress: whether to draw a bar, where there is a terminal.
        pause: seconds before a second attempt; they double with each further one.

    Raises:
        DownloadFailed: the server does not give the file, or gives another one.
        DiskFull: there is not room for it.
        ConfigurationError: ``target`` exists and is another file.
    """
    target = Path(target)
    if target.exists():
        if target.stat().st_size != size or _md5(target) != md5:
            raise ConfigurationError(
                f"{target}: is not the published file ({size:,} bytes, md5 {md5}): move or delete it"
            )
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    by_hand = f"or download it by hand to {target}"
    earlier = _length(part)
    _check_room(target.parent, size - (earlier if earlier <= size else 0))
    with tqdm(
        total=size, desc=target.name, unit="B", unit_scale=True, disable=None if progress else True
    ) as bar:
        _complete(url, part, size, pause, bar, by_hand)
        if earlier and _md5(part) != md5:  # of a download begun by an earlier call, and perhaps damaged since
            part.unlink()
            _complete(url, part, size, pause, bar, by_hand)
    if _md5(part) != md5:
        part.unlink()
        raise DownloadFailed(
            errno.EIO, f"gave {size:,} bytes whose md5 is not {md5}; try again later, {by_hand}", url
        )
    part.replace(target)


def extract(archive: Path | str, folder: Path | str, progress: bool = True) -> None:
    """Unpack a zip archive below ``folder``; files that are there and whole are not written again.

    Raises:
        ConfigurationError: the file is no zip archive, is damaged, or wants to write outside of ``folder``.
        DiskFull: there is not room for it.
    """
    archive, folder = Path(archive), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            for member in members:
                _check_inside(archive, member)
            lacking = [member for member in members if not _is_whole(folder / member.filename, member)]
            _check_room(folder, sum(member.file_size for member in lacking))
            for member in tqdm(lacking, desc=f"unpacking {archive.name}", disable=None if progress else True):
                with opened.open(member) as source:
                    atomic_write(folder / member.filename, partial(shutil.copyfileobj, source))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ConfigurationError(
            f"{archive}: is no whole zip archive ({error}): download it again"
        ) from error


def _complete(url: str, part: Path, size: int, pause: float, bar: tqdm, remedy: str) -> None:
    """Ask until ``part`` has ``size`` bytes; give up after some attempts that brought nothing new."""
    attempt, most = 1, _length(part)
    while True:
        try:
            _go_on(url, part, size, bar, remedy)
            return
        except _Broken as broken:
            have = _length(part)
            attempt, most = (1, have) if have > most else (attempt + 1, most)
            if attempt > ATTEMPTS:
                raise DownloadFailed(
                    errno.EIO,
                    f"{broken}, {ATTEMPTS} times in a row; {part} has {have:,} of {size:,} bytes: "
                    f"run the same command to go on, {remedy}",
                    url,
                ) from broken
            bar.set_postfix_str(f"{broken}, attempt {attempt}")
            time.sleep(pause * 2 ** (attempt - 2))


def _go_on(url: str, part: Path, size: int, bar: tqdm, remedy: str) -> None:
    """Append what ``part`` lacks, over one connection."""
    have = _length(part)
    if have > size:
        part.unlink()
        have = 0
    if have == size:
        return
    with _broken_connections():
        try:
            response = urlopen(
                Request(url, headers={"Range": f"bytes={have}-"} if have else {}), timeout=_TIMEOUT
            )
        except HTTPError as error:
            if error.code in _PASSING:
                raise _Broken(f"the server answered {error.code} {error.reason}") from error
            raise DownloadFailed(
                errno.EIO, f"the server answered {error.code} {error.reason}; try again later, {remedy}", url
            ) from error
    with response:
        start = have if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        length = response.length
        if length is not None and start + length != size:
            raise DownloadFailed(
                errno.EIO,
                f"the server offers {start + length:,} bytes, the published file has {size:,}; "
                f"look at the address in a browser, {remedy}",
                url,
            )
        bar.reset(size)
        bar.update(start)
        _receive(response, part, start, size, bar)
    if _length(part) < size:
        raise _Broken(f"the connection ended after {_length(part):,} bytes")


def _receive(response: http.client.HTTPResponse, part: Path, start: int, size: int, bar: tqdm) -> None:
    """Write what comes to ``part`` from byte ``start`` on, until it ends or ``size`` is reached."""
    try:
        with part.open("ab" if start else "wb") as file:
            while start < size:
                with _broken_connections():
                    chunk = response.read(min(_CHUNK, size - start))
                if not chunk:
                    return
                file.write(chunk)
                start += len(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(
            error.errno, f"{error.strerror}; mend that and run the same command", str(part)
        ) from error


@contextlib.contextmanager
def _broken_connections() -> Iterator[None]:
    """What the network raises becomes :class:`_Broken`; what the disk raises stays outside."""
    try:
        yield
    except DownloadFailed:
        raise
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)  # a URLError wraps what happened
        raise _Broken(getattr(reason, "strerror", None) or str(reason) or type(reason).__name__) from error


def _check_inside(archive: Path, member: zipfile.ZipInfo) -> None:
    name = PurePosixPath(member.filename)
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    if is_link or name.is_absolute() or ".." in name.parts or not name.parts or ":" in name.parts[0]:
        raise ConfigurationError(
            f"{archive}: {member.filename!r} would be written outside of the folder, so nothing is unpacked: "
            "this is not the published file"
        )


def _is_whole(path: Path, member: zipfile.ZipInfo) -> bool:
    if not path.is_file() or path.stat().st_size != member.file_size:
        return False
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum == member.CRC


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        sizes = f"{needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free"
        raise DiskFull(errno.ENOSPC, f"{sizes}; free space or name another folder", str(folder))


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

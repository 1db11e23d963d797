"""A file is whole or absent, and a full disk is named."""

from __future__ import annotations

import errno
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import torch

from relit.atomic import DiskFull, atomic_write, check_writable


@contextmanager
def small_files() -> Iterator[None]:
    """No file of this process may exceed 4 KiB: the kernel refuses the write as it does on a full disk.

    No fixture: pytest reports a test before it ends the fixtures, and its own output may go to a larger file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_bytes_and_writers_arrive_whole_in_missing_folders(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "file"
    atomic_write(target, b"first")
    assert target.read_bytes() == b"first"
    atomic_write(str(target), lambda file: file.write(b"second"))
    assert target.read_bytes() == b"second"
    assert list(target.parent.iterdir()) == [target]


def test_a_failing_writer_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "file"
    atomic_write(target, b"old")

    def fail(file: IO[bytes]) -> None:
        file.write(b"half of the n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic_write(target, fail)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_readers_see_the_old_file_while_the_new_one_is_written(tmp_path: Path) -> None:
    target = tmp_path / "file"
    atomic_write(target, b"old")
    seen = []

    def write(file: IO[bytes]) -> None:
        file.write(b"new")
        file.flush()
        seen.append(target.read_bytes())

    atomic_write(target, write)
    assert seen == [b"old"]
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("writer", ["bytes", "torch.save"])
def test_no_space_is_one_error_that_names_path_and_remedy(tmp_path: Path, writer: str) -> None:
    target = tmp_path / "state.pt"
    atomic_write(target, b"old")
    content = b"x" * 10_000 if writer == "bytes" else lambda file: torch.save(torch.zeros(10_000), file)
    with (
        small_files(),
        pytest.raises(DiskFull, match=r"free space.*same command.*state\.pt") as caught,
    ):
        atomic_write(target, content)
    assert caught.value.errno == errno.EFBIG
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="folder") as caught:
        atomic_write(folder, b"")
    assert not isinstance(caught.value, DiskFull)
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("path", ["file/a.json", "file/new/a.json", "folder", "/proc/a.json"])
def test_what_cannot_be_written_is_named_as_given_before_and_after_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=path) as caught:
        check_writable(path)
    assert caught.value.filename == path
    assert caught.value.strerror
    with pytest.raises(OSError, match=r"file|folder|a\.json") as caught:
        atomic_write(path, b"")
    assert ".tmp" not in str(caught.value.filename)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_looking_whether_a_file_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    atomic_write(tmp_path / "there", b"old")
    for name in ("a", "new/folder/a", "there"):
        check_writable(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_bytes() == b"old"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    atomic_write(tmp_path / "file", b"")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "file")]
    assert modes[0] == modes[1]


def test_the_older_file_gets_its_name_once_the_new_one_is_on_the_disk(tmp_path: Path) -> None:
    path, older = tmp_path / "new", tmp_path / "old"
    for content in (b"1", b"2", b"3"):
        atomic_write(path, content, older)
    assert (path.read_bytes(), older.read_bytes()) == (b"3", b"2")

    def no_room(file: IO[bytes]) -> None:
        file.write(b"4")
        raise OSError(errno.ENOSPC, "no space", "")

    with pytest.raises(DiskFull):
        atomic_write(path, no_room, older)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"new": b"3", "old": b"2"}

"""Downloads from a server that breaks connections, and archives that were cut or made to do harm."""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from relit.atomic import DiskFull
from relit.data import download
from relit.data.download import ATTEMPTS, DownloadFailed, extract, fetch
from relit.errors import ConfigurationError

CONTENT = bytes(i * i % 251 for i in range(50_000))
SIZE, MD5 = len(CONTENT), hashlib.md5(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves :data:`CONTENT`.

    Attributes:
        cuts: bytes after which the connection breaks, one for each request; later ones are answered whole.
        ranges: whether Range is understood.
        answers: status codes to answer with instead, one for each request.
        content: what is served.
        asked: the Range header of each request so far.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cuts: list[int] = []
        self.ranges = True
        self.answers: list[int] = []
        self.content = CONTENT
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/archive.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers["Range"]
        server.asked.append(wanted)
        if server.answers:
            self.send_error(server.answers.pop(0))
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{SIZE - 1}/{SIZE}")
        body = server.content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def get(server: Server, target: Path) -> None:
    fetch(server.url, target, SIZE, MD5, progress=False, pause=0)


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.zip"
    get(server, target)
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None]
    assert [path.name for path in target.parent.iterdir()] == ["a.zip"]


def test_a_broken_connection_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cuts = [10_000, 5_000, 0]
    get(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=10000-", "bytes=15000-", "bytes=15000-"]


def test_a_later_call_goes_on_too(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT[:20_000])
    get(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.asked == ["bytes=20000-"]


def test_a_server_that_ignores_ranges_is_taken_from_the_start(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cuts = False, [30_000, 20_000]
    get(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=30000-", "bytes=20000-"]


@pytest.mark.parametrize(
    "part", [CONTENT + b"more", b"x" * SIZE, b"x" * 1000], ids=["long", "wrong", "damaged"]
)
def test_a_part_of_something_else_is_thrown_away(server: Server, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "a.zip.part").write_bytes(part)
    get(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.asked[-1] is None


def test_busy_servers_are_asked_again_and_refusals_are_not(server: Server, tmp_path: Path) -> None:
    server.answers = [503, 429]
    get(server, tmp_path / "a.zip")
    assert len(server.asked) == 3
    server.answers = [404]
    with pytest.raises(DownloadFailed) as caught:
        get(server, tmp_path / "b.zip")
    assert len(server.asked) == 4
    assert caught.value.filename == server.url
    assert "404" in caught.value.strerror
    assert f"by hand to {tmp_path / 'b.zip'}" in caught.value.strerror


def test_attempts_without_gain_are_bounded_and_what_came_is_kept(server: Server, tmp_path: Path) -> None:
    server.cuts = [7_000] + [0] * 100
    with pytest.raises(DownloadFailed) as caught:
        get(server, tmp_path / "a.zip")
    assert server.asked == [None] + ["bytes=7000-"] * ATTEMPTS
    assert "7,000 of 50,000 bytes" in caught.value.strerror
    assert (tmp_path / "a.zip.part").read_bytes() == CONTENT[:7_000]


def test_no_connection_at_all(tmp_path: Path, server: Server) -> None:
    url = f"http://127.0.0.1:1/{'a.zip'}"
    with pytest.raises(DownloadFailed, match="refused") as caught:
        fetch(url, tmp_path / "a.zip", SIZE, MD5, progress=False, pause=0)
    assert caught.value.filename == url
    assert "download it by hand" in caught.value.strerror


def test_another_content_is_refused_after_one_download(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[::-1]
    with pytest.raises(DownloadFailed, match=f"md5 is not {MD5}"):
        get(server, tmp_path / "a.zip")
    assert server.asked == [None]
    assert list(tmp_path.iterdir()) == []


def test_a_page_in_place_of_the_file_is_refused_by_its_length(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>Log in first</html>"
    with pytest.raises(DownloadFailed, match="offers 25 bytes, the published file has 50,000"):
        get(server, tmp_path / "a.zip")
    assert len(server.asked) == 1


def test_a_file_of_that_name_is_not_overwritten(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"mine")
    with pytest.raises(ConfigurationError, match=r"a\.zip: is not the published file .* move or delete it"):
        get(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == b"mine"
    assert server.asked == []


def test_a_full_disk_is_seen_before_anything_is_asked_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT[:20_000])
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: SimpleNamespace(free=29_999))
    with pytest.raises(DiskFull, match="free space"):
        get(server, tmp_path / "a.zip")
    assert server.asked == []
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: SimpleNamespace(free=30_000))
    get(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def archive(path: Path, names: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in names.items():
            opened.writestr(name, content)
    return path


def test_unpacking_goes_on_with_what_is_not_whole(tmp_path: Path) -> None:
    names = {
        f"set/{name}": CONTENT[start:] for start, name in enumerate(["a.png", "b.png", "c.png", "d.png"])
    }
    packed, folder = archive(tmp_path / "a.zip", {"set/": b"", **names}), tmp_path / "out"
    (folder / "set").mkdir(parents=True)
    (folder / "set" / "a.png").write_bytes(CONTENT)
    (folder / "set" / "b.png").write_bytes(CONTENT[1:100])  # cut off
    (folder / "set" / "c.png").write_bytes(CONTENT[3:] + b"x")  # as long as it should be
    os.utime(folder / "set" / "a.png", (1, 1))
    extract(packed, folder, progress=False)
    assert {f"set/{path.name}": path.read_bytes() for path in (folder / "set").iterdir()} == names
    assert (folder / "set" / "a.png").stat().st_mtime == 1


@pytest.mark.parametrize(
    "name", ["../evil.png", "set/../../evil.png", "/evil.png", "C:/evil.png", ".", "link"]
)
def test_nothing_is_unpacked_from_an_archive_that_writes_elsewhere(tmp_path: Path, name: str) -> None:
    packed = archive(tmp_path / "a.zip", {"good.png": b"good"})
    member = zipfile.ZipInfo(name)
    if name == "link":
        member.external_attr = 0o120777 << 16
    with zipfile.ZipFile(packed, "a") as opened:
        opened.writestr(member, b"../elsewhere")
    with pytest.raises(ConfigurationError, match="outside of the folder"):
        extract(packed, tmp_path / "out", progress=False)
    assert list((tmp_path / "out").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    packed = archive(tmp_path / "a.zip", {"a.png": os.urandom(1000)})
    whole = packed.read_bytes()
    packed.write_bytes(whole[:500])
    with pytest.raises(ConfigurationError, match=r"a\.zip: is no whole zip archive"):
        extract(packed, tmp_path / "out", progress=False)
    packed.write_bytes(whole[:300] + bytes([whole[300] ^ 255]) + whole[301:])
    with pytest.raises(ConfigurationError, match=r"a\.zip: is no whole zip archive .*download it again"):
        extract(packed, tmp_path / "out", progress=False)
    assert list((tmp_path / "out").iterdir()) == []

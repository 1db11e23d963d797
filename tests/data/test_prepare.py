"""Prepared data sets: manifests that say what the layouts say, and copies that are the same data set."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import replicas

from relit.data import div2k_archive
from relit.data.div2k_archive import Published, drawn
from relit.data.files import photos_in
from relit.data.layouts import LAYOUTS, find_layout
from relit.data.layouts.div2k import DIV2K
from relit.data.layouts.layout import Layout
from relit.data.layouts.msec import MSEC
from relit.data.manifest import read_manifest
from relit.data.prepare import find_home, prepare
from relit.data.resized import resized_to
from relit.data.rows import Listing, Row
from relit.data.verify import verify
from relit.errors import ConfigurationError

PARTS = {"part1": 3, "part2": 2}
SMALL_SICE = replicas.small_sice(PARTS)
SMALL_DIV2K = replicas.scaled(DIV2K(), folders={"DIV2K_384": 4, "DIV2K_train_HR": 9}, counts={"train": 4})
REPLICAS = {
    "baid": replicas.baid,
    "backlit300": replicas.backlit300,
    "div2k": replicas.div2k,
    "lcdp": replicas.lcdp,
    "msec": replicas.msec,
    "sice": functools.partial(replicas.sice, parts=PARTS),
    "sice_v2": replicas.sice_v2,
}


def layout(name: str) -> Layout:
    return SMALL_SICE if name == "sice" else LAYOUTS[name]


def in_manifest(name: str) -> Layout:
    return MSEC() if name == "msec" else layout(name)


def outline(listing: Listing) -> list[tuple[str, str | None, str, str, str]]:
    """Rows by names and roles alone: folder and stem of each file."""

    def short(path: Path) -> str:
        return f"{path.parent.name}/{path.stem}"

    return [
        (short(row.input), short(row.reference) if row.reference else None, row.split, row.label, row.scene)
        for row in listing.rows
    ]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_manifest_holds_the_rows_of_the_layout(tmp_path: Path, name: str) -> None:
    root = REPLICAS[name](tmp_path)
    prepared = prepare(layout(name), root)
    assert prepared.manifest == root / f"{name}.csv"
    assert prepared.rows == read_manifest(prepared.manifest) == in_manifest(name).list(root).rows
    assert (prepared.faults, prepared.copies) == ([], None)


@pytest.mark.parametrize("name", LAYOUTS)
def test_reduced_copies_are_the_same_data_set(tmp_path: Path, name: str) -> None:
    root = REPLICAS[name](tmp_path)
    prepared = prepare(layout(name), root, long_side=8)
    assert prepared.manifest == root / f"{name}_8px.csv"
    assert prepared.folder == root / f"{name}_8px"
    assert read_manifest(prepared.manifest) == prepared.rows
    assert all(row.input.is_relative_to(prepared.folder) for row in prepared.rows)
    one = in_manifest(name)
    copied = one.list(prepared.folder)
    assert outline(copied) == outline(one.list(root))
    assert copied.rows == prepared.rows

    original, copy = verify(one, root), verify(one, prepared.folder, deep=True)
    assert copy.counts == original.counts
    kinds = {finding.kind for finding in copy.findings} - {finding.kind for finding in original.findings}
    assert kinds - {"duplicate"} == {"size"}
    assert [resized_to(home) for home in (copy.home, original.home, prepared.folder)] == [8, None, 8]


def test_the_root_may_be_the_data_set_itself_and_the_copies_lie_inside(tmp_path: Path) -> None:
    root = replicas.sice(tmp_path, PARTS) / "SICE"
    prepare(SMALL_SICE, root, long_side=8)
    again = prepare(SMALL_SICE, root, long_side=8)
    assert again.copies is not None
    assert (again.copies.made, len(again.copies.paths)) == (0, 5 * 7 + 5)
    assert SMALL_SICE.list(root).rows == SMALL_SICE.list(tmp_path).rows
    flat = replicas.backlit300(tmp_path) / "Backlit300"
    prepared = prepare(LAYOUTS["backlit300"], flat, long_side=8)
    assert LAYOUTS["backlit300"].list(prepared.folder).rows == prepared.rows
    assert len(prepared.rows) == 3


def test_labels_of_sice_are_copied_so_that_they_can_be_the_references(tmp_path: Path) -> None:
    prepared = prepare(SMALL_SICE, replicas.sice(tmp_path, PARTS, label_beside=True), long_side=8)
    by_label = replicas.small_sice(PARTS, "label")
    assert outline(by_label.list(prepared.folder)) == outline(by_label.list(tmp_path))


def test_a_manifest_of_msec_has_the_references_of_expert_c_alone(tmp_path: Path) -> None:
    prepared = prepare(LAYOUTS["msec"], replicas.msec(tmp_path))
    test = [row.reference.parent.name for row in prepared.rows if row.split == "test" and row.reference]
    assert set(test) == {"expert_c_testing_set"}
    assert len(test) == 10
    assert "expert C" in prepared.note
    assert find_layout("msec") == MSEC("all")


def scene_rows(listing: Listing) -> dict[str, list[str]]:
    """The names of the files of each scene."""
    return {
        scene: [path.stem for row in listing.rows if row.scene == scene for path in row.files]
        for scene in sorted({row.scene for row in listing.rows})
    }


@pytest.mark.parametrize("frame", ["1", "3", "7"])
def test_a_bracket_with_a_damaged_frame_is_not_copied_at_all(tmp_path: Path, frame: str) -> None:
    root = replicas.sice(tmp_path, PARTS)
    first = prepare(SMALL_SICE, root, long_side=8)
    assert len(first.rows) == 10
    bracket = root / "SICE/Dataset_Part1/2"
    replicas.cut_off(bracket / f"{frame}.JPG")
    os.utime(bracket / f"{frame}.JPG", ns=(0, 0))
    for _ in range(2):
        again = prepare(SMALL_SICE, root, long_side=8)
        assert again.copies is not None
        assert set(again.copies.failed) == {bracket / f"{number}.JPG" for number in range(1, 8)}
        assert again.copies.made == 0
        assert list((again.folder / "Dataset_Part1/2").iterdir()) == []
        assert {row.scene for row in again.rows} == {row.scene for row in first.rows} - {"part1/2"}
    whole, copied = scene_rows(SMALL_SICE.list(root)), scene_rows(SMALL_SICE.list(again.folder))
    assert copied == {scene: names for scene, names in whole.items() if scene != "part1/2"}


def test_brackets_behind_links_are_copied_too(tmp_path: Path) -> None:
    root = replicas.sice(tmp_path / "data", PARTS)
    bracket = root / "SICE/Dataset_Part2/1"
    bracket.rename(tmp_path / "elsewhere")
    bracket.symlink_to(tmp_path / "elsewhere")
    prepared = prepare(SMALL_SICE, root, long_side=8)
    assert outline(SMALL_SICE.list(prepared.folder)) == outline(SMALL_SICE.list(root))
    assert len(prepared.rows) == 10


def test_no_disk_takes_copies_for_a_published_folder(tmp_path: Path) -> None:
    replicas.div2k(tmp_path)
    replicas.baid(tmp_path)
    full = prepare(LAYOUTS["div2k"], tmp_path)
    before = full.manifest.read_bytes()
    prepare(LAYOUTS["div2k"], tmp_path, long_side=384)
    prepare(LAYOUTS["baid"], tmp_path, long_side=380)
    names = [path.name.lower() for path in tmp_path.iterdir()]
    assert len(names) == len(set(names))
    assert full.manifest.read_bytes() == before


def test_a_manifest_that_cannot_be_written_is_refused_before_the_copies_are_made(tmp_path: Path) -> None:
    root = replicas.lcdp(tmp_path)
    (root / "file").touch()
    with pytest.raises(OSError, match=r"file/pairs\.csv"):
        prepare(LAYOUTS["lcdp"], root, long_side=8, manifest=root / "file" / "pairs.csv")
    for folder in ("input", "gt"):
        path = root / "lcdp_dataset" / folder / "a0001-jmac_DSC1459.png"
        path.rename(path.with_name(os.fsdecode(b"\xe9t\xe9.png")))
    with pytest.raises(ConfigurationError, match=r"lcdp_8px\.csv, row 2: .*rename the file"):
        prepare(LAYOUTS["lcdp"], root, long_side=8)
    assert not (root / "lcdp_8px").exists()


def test_another_manifest_may_be_named(tmp_path: Path) -> None:
    root = replicas.lcdp(tmp_path / "data")
    prepared = prepare(LAYOUTS["lcdp"], root, manifest=tmp_path / "mine" / "pairs.parquet")
    assert read_manifest(tmp_path / "mine" / "pairs.parquet") == prepared.rows
    assert sorted(path.name for path in root.iterdir()) == ["lcdp_dataset"]
    with pytest.raises(ConfigurationError, match=r"ends in \.csv or \.parquet"):
        prepare(LAYOUTS["lcdp"], root, long_side=8, manifest=tmp_path / "pairs.txt")
    assert not (root / "lcdp_8px").exists()


def test_what_cannot_be_used_is_told_and_left_out(tmp_path: Path) -> None:
    root = replicas.lcdp(tmp_path)
    home = root / "lcdp_dataset"
    (home / "test-gt" / "a0016-jmac_MG_0795.png").unlink()
    replicas.cut_off(home / "gt" / "a0001-jmac_DSC1459.png")
    prepared = prepare(LAYOUTS["lcdp"], root, long_side=8)
    assert [finding.kind for finding in prepared.faults] == ["unmatched"]
    assert prepared.copies is not None
    assert list(prepared.copies.failed) == [home / "gt" / "a0001-jmac_DSC1459.png"]
    assert [row.input.stem for row in prepared.rows] == [
        "a0002-dgw_005",
        "a0010-jmac_MG_4807",
        "a0017-IMG_0005",
    ]
    assert read_manifest(prepared.manifest) == prepared.rows


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "div2k"])
@pytest.mark.parametrize("root", [".", "missing"])
def test_what_is_not_there_is_told_with_its_source_licence_and_folders(
    tmp_path: Path, name: str, root: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        prepare(LAYOUTS[name], tmp_path / root)
    said = str(caught.value)
    assert said.startswith(str(tmp_path / root))
    assert LAYOUTS[name].source in said
    assert f"licence  {LAYOUTS[name].licence}" in said
    expected = LAYOUTS[name].marks or (LAYOUTS[name].title,)
    assert all(mark.partition("/")[0] in said for mark in expected)
    assert "``" not in said
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigurationError):
        find_home(LAYOUTS[name], tmp_path / root)


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "BAID_380" / "resize_input").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="no usable photograph: ask relit data verify baid"):
        prepare(LAYOUTS["baid"], tmp_path)
    assert not (tmp_path / "baid.csv").exists()


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """DIV2K of nine photographs, on a local server, at the address that is downloaded from."""
    served = tmp_path / "served"
    path = served / "DIV2K_train_HR.zip"
    served.mkdir()
    with zipfile.ZipFile(path, "w") as opened:
        for number in range(1, 10):
            photo = replicas.put(tmp_path / "photos" / f"{number:04}.png")
            opened.write(photo, f"DIV2K_train_HR/{photo.name}")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(served))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/{path.name}"
        content = path.read_bytes()
        published = Published(url, len(content), hashlib.md5(content).hexdigest())
        monkeypatch.setattr(div2k_archive, "DIV2K_TRAIN_HR", published)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield path
        server.shutdown()
        thread.join()


def names(rows: list[Row]) -> list[str]:
    return [row.input.name for row in rows]


def test_div2k_is_downloaded_unpacked_and_drawn_from(archive: Path, tmp_path: Path) -> None:
    root = tmp_path / "new" / "data"
    prepared = prepare(SMALL_DIV2K, root)
    assert sorted(path.name for path in root.iterdir()) == [
        "DIV2K_384",
        "DIV2K_train_HR",
        "DIV2K_train_HR.zip",
        "div2k.csv",
    ]
    assert "drawn by a fixed key" in prepared.note
    assert len(prepared.rows) == 4
    assert {(row.split, row.label, row.reference) for row in prepared.rows} == {("train", "well_lit", None)}
    for row in read_manifest(root / "div2k.csv"):
        assert row.input.read_bytes() == (tmp_path / "photos" / row.input.name).read_bytes()
    assert verify(SMALL_DIV2K, root).findings == []

    archive.unlink()
    for name in ("DIV2K_train_HR.zip", "div2k.csv"):
        (root / name).unlink()
    again = prepare(SMALL_DIV2K, root)
    assert (again.rows, again.note) == (prepared.rows, "")


def test_a_folder_that_is_not_whole_is_completed_from_the_archive(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = prepare(SMALL_DIV2K, tmp_path / "whole")
    root = tmp_path / "half"
    for number in (1, 2):
        replicas.put(root / "DIV2K_train_HR" / f"{number:04}.png")
    (root / "DIV2K_384.part").mkdir()
    capsys.readouterr()
    prepared = prepare(SMALL_DIV2K, root, progress=True)
    said = capsys.readouterr().err
    assert "DIV2K_train_HR: lacks 0003, 0004, 0005, 0006, 0007 and 2 more, so the archive (3.5 GB)" in said
    assert len(photos_in(root / "DIV2K_train_HR")) == 9
    assert names(prepared.rows) == names(whole.rows)
    assert not (root / "DIV2K_384.part").exists()


def test_all_photographs_of_div2k_are_enough_without_a_download(tmp_path: Path) -> None:
    photos = [replicas.put(tmp_path / "DIV2K_train_HR" / f"{number:04}.png") for number in range(1, 10)]
    chosen = names(prepare(SMALL_DIV2K, tmp_path / "DIV2K_train_HR").rows)
    assert chosen == [path.name for path in drawn(photos, 4)]
    assert names(prepare(SMALL_DIV2K, tmp_path).rows) == chosen


def test_the_authors_own_selection_is_taken_as_it_is(tmp_path: Path) -> None:
    replicas.div2k(tmp_path)
    before = sorted(path.name for path in (tmp_path / "DIV2K_384").iterdir())
    prepared = prepare(SMALL_DIV2K, tmp_path)
    assert names(prepared.rows) == before == sorted(path.name for path in (tmp_path / "DIV2K_384").iterdir())
    assert prepared.note == ""


def test_the_draw_depends_on_names_alone_and_is_spread_out() -> None:
    paths = [Path(f"DIV2K_train_HR/{number:04}.png") for number in range(1, 801)]
    chosen = drawn(paths, 384)
    assert len(chosen) == 384
    assert chosen == sorted(chosen)
    assert chosen == sorted(drawn(paths[::-1], 384))
    assert [path.stem for path in chosen[:5]] == ["0006", "0009", "0010", "0011", "0012"]  # for good
    quarters = [sum(low < int(path.stem) <= low + 200 for path in chosen) for low in range(0, 800, 200)]
    assert min(quarters) > 75


def test_a_file_in_place_of_the_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"file: is not a folder"):
        prepare(SMALL_DIV2K, tmp_path / "file")

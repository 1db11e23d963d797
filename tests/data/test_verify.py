"""Verification finds what was planted in replicas of published data sets, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
import replicas

from relit.data.findings_table import findings_table
from relit.data.layouts.backlit300 import Backlit300
from relit.data.layouts.baid import BAID
from relit.data.layouts.div2k import DIV2K
from relit.data.layouts.layout import Layout
from relit.data.layouts.lcdp import LCDP
from relit.data.layouts.msec import MSEC
from relit.data.layouts.sice_v2 import SICEV2
from relit.data.resized import mark_resized
from relit.data.verify import Report, verify
from relit.errors import ConfigurationError

PARTS = {"part1": 4, "part2": 3}
BAID_SMALL = replicas.scaled(BAID(), counts={"train": 3, "test": 4}, references=2)
LCDP_SMALL = replicas.scaled(LCDP(), counts={"train": 2, "val": 1, "test": 2})
MSEC_SMALL = replicas.scaled(MSEC("all"), counts={"train": 10, "val": 5, "test": 10})
SICE_SMALL = replicas.small_sice(PARTS)
SICE_V2_SMALL = replicas.scaled(SICEV2(), counts={"train": 6, "test": 4})


def found(report: Report, fault: bool | None = None) -> set[tuple[str, str]]:
    """Kind and place of every finding; no kind is told twice of a place."""
    pairs = [
        (one.kind, unicodedata.normalize("NFC", one.where.removeprefix(f"{report.home}/")))
        for one in report.findings
        if fault is None or one.fault == fault
    ]
    assert len(pairs) == len(set(pairs))
    return set(pairs)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("layout", "build"),
    [
        (BAID_SMALL, replicas.baid),
        (replicas.scaled(Backlit300(), folders={"Backlit300": 3}), replicas.backlit300),
        (replicas.scaled(DIV2K(), folders={"DIV2K_384": 3}), replicas.div2k),
        (LCDP_SMALL, replicas.lcdp),
        (MSEC_SMALL, replicas.msec),
        (SICE_SMALL, lambda root: replicas.sice(root, PARTS)),
        (replicas.small_sice(PARTS, "label"), lambda root: replicas.sice(root, PARTS)),
        (SICE_V2_SMALL, replicas.sice_v2),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_nothing_is_found_in_a_clean_replica(
    tmp_path: Path, layout: Layout, build: Callable[[Path], Path], deep: bool
) -> None:
    root = build(tmp_path)
    # Hidden files, other files and links that lead to themselves are no photographs.
    for folder in [path for path in root.rglob("*") if path.is_dir()]:
        (folder / "._0001.jpg").write_bytes(b"\0\5\x16\7")
        (folder / "Thumbs.db").write_bytes(b"")
        (folder / "itself").symlink_to(folder)
        (folder / "round").symlink_to("round")
    report = verify(layout, root, deep)
    assert report.findings == []
    assert all(count.published in (None, count.found) and count.found for count in report.counts.values())
    assert "no fault (0 faults, 0 notices" in findings_table(report)


def test_what_is_planted_in_baid(tmp_path: Path) -> None:
    root = replicas.baid(tmp_path)
    test = root / "BAID/test"
    for folder in ("resize_input", "resize_gt"):
        shutil.copy(test / folder / "0152.png", test / folder / "0152(2).png")
    replicas.put(test / "resize_input/0153(1).jpg")
    replicas.put(test / "resize_gt/0153(1).jpg")
    shutil.copy(test / "resize_gt/0153.JPG", test / "resize_gt/0001.jpg")
    replicas.cut_off(root / "BAID_380/resize_input/0001.JPG")
    (root / "BAID_380/resize_input/0002.jpg").write_text("gone")
    # A file that can't be read is not compared in size as well.
    (test / "resize_gt" / unicodedata.normalize("NFD", "Café au soleil.jpg")).write_bytes(b"")
    shutil.copy(root / "DIV2K_384/0001.png", root / "DIV2K_384/0900.png")
    report = verify(BAID_SMALL, root)
    assert found(report, fault=True) == {
        ("unreadable", "BAID_380/resize_input/0001.JPG"),
        ("unreadable", "BAID_380/resize_input/0002.jpg"),
        ("unreadable", "BAID/test/resize_gt/Café au soleil.jpg"),
        ("count", "test"),
    }
    assert found(report, fault=False) == {
        ("duplicate", "BAID/test/resize_input/0152(2).png"),
        ("duplicate", "BAID/test/resize_input/0153(1).jpg"),
        ("duplicate", "DIV2K_384/0900.png"),
        ("count", "DIV2K_384"),  # three with the copy, instead of two
    }
    assert report.counts == {"train": (3, 3), "test": (6, 4)}
    told = {one.where.rsplit("/")[-1]: one.message for one in report.findings}
    assert "a copy of 0152.png: they count once" in told["0152(2).png"]
    assert "its content differs" in told["0153(1).jpg"]


@pytest.mark.parametrize(
    ("layout", "build", "name"),
    [
        (replicas.scaled(Backlit300(), folders={"Backlit300": 5}), replicas.backlit300, "Backlit300"),
        (replicas.scaled(DIV2K(), folders={"DIV2K_384": 5}), replicas.div2k, "DIV2K_384"),
    ],
)
def test_what_is_planted_in_a_flat_folder(
    tmp_path: Path, layout: Layout, build: Callable[[Path], Path], name: str
) -> None:
    folder = build(tmp_path) / name
    first = min(folder.iterdir())
    shutil.copy(first, folder / f"{first.stem}(2){first.suffix}")
    replicas.cut_off(replicas.put(folder / "ünfinished copy.PNG"))
    (folder / "loop.jpg").symlink_to("loop.jpg")
    replicas.damage(replicas.put(folder / "inside.png", 96, 128))
    planted = {("unreadable", "loop.jpg"), ("unreadable", "ünfinished copy.PNG")}
    report = verify(layout, tmp_path)
    counts = {("count", layout.split)}  # type: ignore[attr-defined]
    assert found(report) == {*planted, *counts, ("duplicate", f"{first.stem}(2){first.suffix}")}
    assert found(verify(layout, tmp_path, deep=True), fault=True) >= {*planted, ("unreadable", "inside.png")}


def test_what_is_planted_in_lcdp(tmp_path: Path) -> None:
    root = replicas.lcdp(tmp_path)
    home = root / "lcdp_dataset"
    first, second = replicas.LCDP_SCENES["test"]
    (home / "test-gt" / f"{first}.png").unlink()
    replicas.put(home / "test-gt" / f"{second}.png", height=20)
    shutil.copy(home / "gt/a0001-jmac_DSC1459.png", home / "input/a0001-jmac_DSC1459.png")
    replicas.damage(home / "input/a0002-dgw_005.png")
    # Renamed, a test scene is still found by its content, once for its pair.
    shutil.copy(home / "valid-input/a0010-jmac_MG_4807.png", home / "input/a0500-other.png")
    shutil.copy(home / "valid-gt/a0010-jmac_MG_4807.png", home / "gt/a0500-other.png")
    planted = {
        ("unmatched", f"test-input/{first}.png"),
        ("count", "test"),
        ("size", f"test-input/{second}.png"),
        ("duplicate", "input/a0001-jmac_DSC1459.png"),
        ("leak", "input/a0500-other.png"),
    }
    shallow = verify(LCDP_SMALL, root)
    assert found(shallow, fault=True) == planted
    assert found(shallow, fault=False) == {("count", "train")}
    deep = verify(LCDP_SMALL, root, deep=True)
    assert found(deep, fault=True) == planted | {("unreadable", "input/a0002-dgw_005.png")}
    assert "input and reference differ in size: 16x12 and 16x20" in findings_table(shallow)


def test_what_is_planted_in_msec(tmp_path: Path) -> None:
    root = replicas.msec(tmp_path)
    scene = "a0016-jmac_MG_0795"
    for folder in ("training", "testing"):
        replicas.put(root / "MSEC" / folder / "INPUT_IMAGES" / f"{scene}_P1.JPG")
    replicas.put(root / f"MSEC/training/GT_IMAGES/{scene}.jpg")
    for expert in "abde":
        replicas.put(root / f"MSEC/testing/expert_{expert}_testing_set/{scene}.JPG")
    replicas.put(root / "MSEC/testing/expert_c_testing_set/a0999-only.jpg")
    replicas.put(root / "MSEC/validation/INPUT_IMAGES/a0201-_DGW6260_N2.JPG")
    replicas.put(root / "MSEC/training/GT_IMAGES/a0101-dvf_095.png")
    # Larger photographs, so that foreign bytes hold an impossible mark.
    for path in ("INPUT_IMAGES/a0201-_DGW6260_0.JPG", "INPUT_IMAGES/a0201-_DGW6260_P1.JPG"):
        replicas.put(root / "MSEC/validation" / path, 96, 128)
    replicas.damage(root / "MSEC/validation/INPUT_IMAGES/a0201-_DGW6260_0.JPG")
    unmatched = {
        ("unmatched", f"training/INPUT_IMAGES/a0101-dvf_095_{exposure}.JPG")
        for exposure in replicas.EXPOSURES
    } | {
        ("unmatched", "training/GT_IMAGES/a0101-dvf_095.png"),
        ("unmatched", "training/GT_IMAGES/a0101-dvf_095.jpg"),
        ("unmatched", f"testing/INPUT_IMAGES/{scene}_P1.JPG"),
        ("unmatched", "testing/expert_c_testing_set/a0999-only.jpg"),
    }
    planted = unmatched | {
        ("name", "validation/INPUT_IMAGES/a0201-_DGW6260_N2.JPG"),
        ("count", "train"),
        ("count", "test"),
        ("size", "validation/INPUT_IMAGES/a0201-_DGW6260_0.JPG"),
        ("size", "validation/INPUT_IMAGES/a0201-_DGW6260_P1.JPG"),
        ("leak", f"training/INPUT_IMAGES/{scene}_P1.JPG"),
    }
    assert found(verify(MSEC_SMALL, root)) == planted
    damaged = "validation/INPUT_IMAGES/a0201-_DGW6260_0.JPG"
    deep = planted - {("size", damaged)} | {("unreadable", damaged)}
    assert found(verify(MSEC_SMALL, root, deep=True)) == deep


def test_what_is_planted_in_sice(tmp_path: Path) -> None:
    root = replicas.sice(tmp_path, PARTS)
    tested, other = sorted(SICE_SMALL.test_scenes)
    trained = sorted({f"part1/{number}" for number in range(1, 5)} - SICE_SMALL.test_scenes)
    folders = {scene: f"Dataset_P{scene[1:]}" for scene in (tested, other, *trained)}
    home = root / "SICE"
    shutil.rmtree(home / folders[tested])
    shutil.rmtree(home / folders[trained[0]])
    (home / folders[other] / "3.JPG").unlink()
    replicas.put(home / folders[other] / "best.JPG")
    replicas.cut_off(home / folders[trained[1]] / "2.JPG")
    report = verify(SICE_SMALL, root)
    assert found(report, fault=True) == {
        ("missing", folders[tested]),
        ("missing", folders[other]),
        ("name", f"{folders[other]}/best.JPG"),
        ("unreadable", f"{folders[trained[1]]}/2.JPG"),
    }
    assert found(report, fault=False) == {("missing", folders[trained[0]]), ("count", str(home))}
    told = next(one.message for one in report.findings if one.where == str(home))
    assert told == "35 photographs in 5 brackets instead of 49 in 7"


def test_every_photograph_of_sice_is_looked_at(tmp_path: Path) -> None:
    root = replicas.sice(tmp_path, PARTS)
    replicas.cut_off(root / "SICE/Dataset_Part1/3/7.JPG")
    replicas.cut_off(root / "SICE/Dataset_Part1/3/6.JPG")
    replicas.cut_off(root / "SICE/Dataset_Part1/Label/3.JPG")
    needed = ("unreadable", "Dataset_Part1/3/6.JPG")
    report = verify(SICE_SMALL, root)
    assert found(report, fault=True) == {needed}
    assert found(report, fault=False) == {
        ("unreadable", "Dataset_Part1/3/7.JPG"),
        ("unreadable", "Dataset_Part1/Label/3.JPG"),
    }


def test_reduced_copies_are_told(tmp_path: Path) -> None:
    root = replicas.lcdp(tmp_path)
    mark_resized(root, "lcdp", 640)
    report = verify(LCDP_SMALL, root)
    assert found(report) == {("size", str(root / "lcdp_dataset"))}
    assert report.faults == []
    assert "copies reduced to 640 pixels" in findings_table(report)


def test_names_that_are_no_text_are_told_and_the_report_is_plain_values_all_the_same(tmp_path: Path) -> None:
    root = replicas.lcdp(tmp_path)
    for folder in ("test-input", "test-gt"):
        path = root / "lcdp_dataset" / folder / "a0016-jmac_MG_0795.png"
        path.rename(path.with_name(os.fsdecode(b"a0016-\xe9t\xe9.png")))
    report = verify(LCDP_SMALL, root)
    assert {(one.kind, one.fault) for one in report.findings} == {("name", False)}
    assert len(report.findings) == 2
    assert json.loads(json.dumps(report.as_dict()))["findings"][0]["where"] == report.findings[0].where


def test_labels_that_sice_lacks_are_a_fault_only_where_they_are_the_references(tmp_path: Path) -> None:
    root = replicas.sice(tmp_path, PARTS)
    (root / "SICE/Dataset_Part1/Label/2.JPG").unlink()
    shutil.rmtree(root / "SICE/Dataset_Part2/Label")
    lacking = {("unmatched", "Dataset_Part1/2"), ("missing", "Dataset_Part2/Label")}
    labels = replicas.small_sice(PARTS, "label")
    assert found(verify(labels, root), fault=True) == lacking
    assert found(verify(SICE_SMALL, root), fault=True) == set()
    assert found(verify(SICE_SMALL, root)) == lacking


def test_what_is_planted_in_sice_v2(tmp_path: Path) -> None:
    home = replicas.sice_v2(tmp_path) / "SICEV2"
    (home / "train/low/2.JPG").unlink()
    (home / "train/over/2.JPG").unlink()
    (home / "train/over/10.JPG").unlink()
    (home / "train/over/10.JPG").symlink_to(home / "train/over/nowhere.JPG")
    (home / "train/low/10.JPG").unlink()
    (home / "train/low/10.JPG").symlink_to("10.JPG")
    shutil.copy(home / "test/mid/23.JPG", home / "train/mid/1.JPG")
    for folder in ("low", "over", "mid"):
        shutil.copy(home / "test" / folder / "110.JPG", home / "train" / folder / "110.jpg")
    report = verify(SICE_V2_SMALL, tmp_path)
    assert found(report, fault=True) == {
        ("unmatched", "train/mid/2.JPG"),
        ("unreadable", "train/over/10.JPG"),
        ("unreadable", "train/low/10.JPG"),
        ("leak", "train/low/1.JPG"),
        ("leak", "train/over/1.JPG"),
        ("leak", "train/low/110.jpg"),
        ("leak", "train/over/110.jpg"),
    }
    assert found(report, fault=False) == set()
    told = next(one.message for one in report.findings if one.kind == "unmatched")
    assert told == "no input in low; no input in over"


@pytest.mark.parametrize("how", ["absent", "empty", "loop"])
def test_half_of_the_sice_v2_test_list_is_a_fault(tmp_path: Path, how: str) -> None:
    low = replicas.sice_v2(tmp_path) / "SICEV2/test/low"
    shutil.rmtree(low)
    if how == "empty":
        low.mkdir()
    elif how == "loop":
        low.symlink_to(low)
    report = verify(SICE_V2_SMALL, tmp_path)
    assert found(report, fault=True) == {("missing", "test/low"), ("count", "test")}
    assert "low and over are both required" in findings_table(report)


def test_a_split_that_is_not_there_is_told_by_its_folders_alone(tmp_path: Path) -> None:
    root = replicas.lcdp(tmp_path)
    for folder in ("valid-input", "valid-gt"):
        shutil.rmtree(root / "lcdp_dataset" / folder)
    report = verify(LCDP_SMALL, root)
    assert found(report) == {("missing", "valid-input"), ("missing", "valid-gt")}
    assert report.counts["val"] == (0, 1)


def test_a_smaller_training_split_is_a_notice_and_a_smaller_test_split_a_fault(tmp_path: Path) -> None:
    larger = replicas.scaled(LCDP(), counts={"train": 3, "val": 1, "test": 3})
    report = verify(larger, replicas.lcdp(tmp_path))
    assert found(report, fault=False) == {("count", "train")}
    assert found(report, fault=True) == {("count", "test")}


def test_scenes_on_the_other_side_of_another_data_set_leak_in_either_direction(tmp_path: Path) -> None:
    shared = {
        **replicas.LCDP_SCENES,
        "train": ("a0301-07-11", "a0302-IMG", "a0003-x"),
        "test": ("a0101-dvf_095",),
    }
    replicas.lcdp(tmp_path, shared)
    replicas.msec(tmp_path)
    lcdp = replicas.scaled(LCDP(), counts={"train": 3, "val": 1, "test": 1})
    for one, other in ((lcdp, MSEC_SMALL), (MSEC_SMALL, lcdp)):
        assert verify(one, tmp_path).findings == []
        report = verify(one, tmp_path, against=[(other, tmp_path)])
        assert found(report, fault=True) == {
            ("leak", "lcdp train, msec test"),
            ("leak", "msec train, lcdp test"),
        }
        told = {finding.where: finding.message for finding in report.findings}
        assert (
            "2 of the scenes in LCDP's train split also in MSEC's test split (a0301, a0302): a test on MSEC"
            in (told["lcdp train, msec test"])
        )
        assert "(a0101): a test on LCDP after training on MSEC leaks" in told["msec train, lcdp test"]


def test_equal_numbers_in_unrelated_data_sets_are_no_leak_but_equal_files_are(tmp_path: Path) -> None:
    replicas.sice_v2(tmp_path)
    scenes = {**replicas.LCDP_SCENES, "test": ("23", "110")}
    replicas.lcdp(tmp_path, {**scenes, "train": ("1", "2")})
    against = [(LCDP(), tmp_path)]
    assert verify(SICE_V2_SMALL, tmp_path, against=against).findings == []
    source = tmp_path / "lcdp_dataset/test-gt/23.png"
    shutil.copy(source, tmp_path / "SICEV2/train/mid/1.JPG")
    report = verify(SICE_V2_SMALL, tmp_path, against=against)
    assert found(report) == {("leak", "sice_v2 train, lcdp test")}
    with pytest.raises(ConfigurationError, match="does not hold MSEC"):
        verify(SICE_V2_SMALL, tmp_path, against=[(MSEC(), tmp_path)])


def test_a_report_is_plain_values_and_a_table_of_aligned_columns(tmp_path: Path) -> None:
    root = replicas.lcdp(tmp_path)
    for name in ("p", "q", "r", "s", "t"):
        replicas.put(root / "lcdp_dataset/test-input" / f"{name}.png")
    report = verify(LCDP_SMALL, root)
    read = json.loads(json.dumps(report.as_dict()))
    assert read["counts"]["test"] == {"found": 2, "published": 2}
    assert (read["name"], read["deep"], read["faults"], len(read["findings"])) == ("lcdp", False, 5, 5)
    assert read["findings"][0] == {
        "kind": "unmatched",
        "where": str(root / "lcdp_dataset/test-input/p.png"),
        "message": "no references in test-gt",
        "fault": True,
    }
    lines = findings_table(report).splitlines()
    column = next(line.index("such as") for line in lines if line.startswith("finding"))
    told = [line[column:] for line in lines if "no references" in line or "and 2 more" in line]
    assert told == [f"test-input/{name}.png: no references in test-gt" for name in "pqr"] + ["and 2 more"]
    assert lines[-1].startswith("lcdp: FAULTY (5 faults, 0 notices; headers only")
    assert verify(LCDP_SMALL, root) == report


def test_progress_goes_to_the_error_stream_and_only_where_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = replicas.lcdp(tmp_path)
    verify(LCDP_SMALL, root)
    assert capsys.readouterr() == ("", "")
    verify(LCDP_SMALL, root, deep=True, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "10/10" in err


def test_real_exposure_brackets_are_without_fault(shared: Path) -> None:
    report = verify(SICEV2(), shared / "photos", deep=True)
    assert found(report) == {("count", "train")}
    assert report.faults == []
    assert report.counts == {"train": (240, 1024), "test": (60, 60)}


def test_verification_does_not_import_torch() -> None:
    modules = "relit.data.verify, relit.data.findings_table, relit.data.layouts"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

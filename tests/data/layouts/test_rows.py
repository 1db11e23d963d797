"""Rows of every published data set: which photograph belongs to which, in which split, and how it is lit."""

from __future__ import annotations

import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import replicas

from relit.data.files import find_folder
from relit.data.layouts import LAYOUTS, find_layout
from relit.data.layouts.backlit300 import Backlit300
from relit.data.layouts.baid import BAID
from relit.data.layouts.div2k import DIV2K
from relit.data.layouts.fivek import fivek_scene
from relit.data.layouts.layout import Layout
from relit.data.layouts.lcdp import LCDP
from relit.data.layouts.msec import MSEC
from relit.data.layouts.pair_folders import PairFolders
from relit.data.layouts.sice import SICE
from relit.data.layouts.sice_v2 import SICEV2
from relit.data.rows import Listing, Row
from relit.errors import ConfigurationError

PARTS = {"part1": 4, "part2": 3}


def small_sice(reference: str = "middle", exposures: int = 7) -> SICE:
    return replicas.small_sice(PARTS, reference, exposures)


def clean(listing: Listing) -> list[Row]:
    assert listing.findings == []
    return listing.rows


def named(rows: list[Row], split: str) -> list[tuple[str, str | None, str]]:
    """Input, reference and label, with the folder of each file."""

    def short(path: Path) -> str:
        return unicodedata.normalize("NFC", f"{path.parent.name}/{path.name}")

    return [
        (short(row.input), short(row.reference) if row.reference else None, row.label)
        for row in rows
        if row.split == split
    ]


def test_baid_has_backlit_and_well_lit_photographs_to_train_on_and_pairs_to_test_on(tmp_path: Path) -> None:
    rows = clean(replicas.scaled(BAID(), references=2).list(replicas.baid(tmp_path)))
    assert named(rows, "train") == [
        ("resize_input/0001.JPG", None, "backlit"),
        ("resize_input/0002.jpg", None, "backlit"),
        ("resize_input/0152.png", None, "backlit"),
        ("DIV2K_384/0001.png", None, "well_lit"),
        ("DIV2K_384/0801.png", None, "well_lit"),
    ]
    assert named(rows, "test") == [
        ("resize_input/0001.JPG", "resize_gt/0001.jpg", "backlit"),
        ("resize_input/0152.png", "resize_gt/0152.png", "backlit"),
        ("resize_input/0153.jpg", "resize_gt/0153.JPG", "backlit"),
        ("resize_input/Café au soleil.jpg", "resize_gt/Café au soleil.jpg", "backlit"),
    ]
    assert {row.input.parts[-4] for row in rows if row.split == "test"} == {"BAID"}
    assert len({row.scene for row in rows}) == len(rows)


def test_baid_without_well_lit_photographs_has_a_fault(tmp_path: Path) -> None:
    shutil.rmtree(replicas.baid(tmp_path) / "DIV2K_384")
    listing = BAID().list(tmp_path)
    assert {row.label for row in listing.rows} == {"backlit"}
    assert [(one.kind, one.where, one.fault) for one in listing.findings] == [
        ("missing", str(tmp_path / "DIV2K_384"), True)
    ]


@pytest.mark.parametrize("inside", [False, True])
def test_a_flat_data_set_is_the_root_or_a_folder_below_it(tmp_path: Path, inside: bool) -> None:
    root = replicas.backlit300(tmp_path) / ("Backlit300" if inside else ".")
    rows = clean(Backlit300().list(root))
    assert named(rows, "test") == [
        ("Backlit300/1.jpg", None, "backlit"),
        ("Backlit300/2.JPG", None, "backlit"),
        ("Backlit300/a street.png", None, "backlit"),
    ]


@pytest.mark.parametrize(("folder", "count"), [("DIV2K_384", 384), ("DIV2K_train_HR", 800)])
def test_div2k_is_a_selection_or_the_whole(tmp_path: Path, folder: str, count: int) -> None:
    root = replicas.div2k(tmp_path, folder)
    assert {(row.split, row.label) for row in clean(DIV2K().list(root))} == {("train", "well_lit")}
    assert DIV2K().published(DIV2K().home(root)) == {"train": count}


def test_lcdp_pairs_files_of_the_same_name_and_knows_their_fivek_scene(tmp_path: Path) -> None:
    rows = clean(LCDP().list(replicas.lcdp(tmp_path)))
    assert named(rows, "val") == [
        ("valid-input/a0010-jmac_MG_4807.png", "valid-gt/a0010-jmac_MG_4807.png", "mixed")
    ]
    assert [(row.split, row.scene) for row in rows] == [
        ("train", "a0001"),
        ("train", "a0002"),
        ("val", "a0010"),
        ("test", "a0016"),
        ("test", "a0017"),
    ]


def test_fivek_scenes_are_found_in_either_case_and_elsewhere_the_name_is_kept() -> None:
    assert fivek_scene(Path("a0016-jmac_MG_0795_N1.5.JPG")) == fivek_scene(Path("A0016-x.png")) == "a0016"
    assert fivek_scene(Path("b0016-jmac.png")) == "b0016-jmac"


def test_msec_splits_names_at_the_last_underscore_and_labels_by_exposure(tmp_path: Path) -> None:
    rows = clean(MSEC().list(replicas.msec(tmp_path)))
    name = "a0201-_DGW6260"
    assert named(rows, "val") == [
        (f"INPUT_IMAGES/{name}_0.JPG", f"GT_IMAGES/{name}.jpg", "over"),
        (f"INPUT_IMAGES/{name}_N1.5.JPG", f"GT_IMAGES/{name}.jpg", "under"),
        (f"INPUT_IMAGES/{name}_N1.JPG", f"GT_IMAGES/{name}.jpg", "under"),
        (f"INPUT_IMAGES/{name}_P1.5.JPG", f"GT_IMAGES/{name}.jpg", "over"),
        (f"INPUT_IMAGES/{name}_P1.JPG", f"GT_IMAGES/{name}.jpg", "over"),
    ]
    assert Counter(row.split for row in rows) == {"train": 10, "val": 5, "test": 10}
    assert {row.scene for row in rows if row.split == "test"} == {"a0301", "a0302"}


@pytest.mark.parametrize(("expert", "folders"), [("c", "c"), ("e", "e"), ("all", "abcde")])
def test_the_expert_of_msec_chooses_the_references_of_the_test_split(
    tmp_path: Path, expert: str, folders: str
) -> None:
    rows = clean(MSEC(expert).list(replicas.msec(tmp_path)))
    test = [row.reference.parent.name for row in rows if row.split == "test" and row.reference]
    assert test == [f"expert_{folder}_testing_set" for folder in folders for _ in range(10)]
    assert sum(row.split == "train" for row in rows) == 10


@pytest.mark.parametrize("expert", "abde")
def test_of_all_experts_of_msec_only_c_must_be_there(tmp_path: Path, expert: str) -> None:
    testing = replicas.msec(tmp_path) / "MSEC/testing"
    shutil.rmtree(testing / f"expert_{expert}_testing_set")
    listing = MSEC("all").list(tmp_path)
    assert sum(row.split == "test" for row in listing.rows) == 40
    assert [(one.kind, one.fault) for one in listing.findings] == [("missing", False)]
    assert [(one.kind, one.fault) for one in MSEC(expert).list(tmp_path).findings] == [("missing", True)]
    shutil.rmtree(testing / "expert_c_testing_set")
    assert [one.fault for one in MSEC("all").list(tmp_path).findings if "expert_c" in one.where] == [True]


def test_the_exposures_of_one_photograph_are_one_scene_whatever_its_name(tmp_path: Path) -> None:
    scenes = {"train": ("beach",), "val": ("IMG_12",), "test": ("a0301-x",)}
    rows = clean(MSEC().list(replicas.msec(tmp_path, scenes)))
    assert Counter((row.split, row.scene) for row in rows) == {
        ("train", "beach"): 5,
        ("val", "img_12"): 5,
        ("test", "a0301"): 5,
    }


@pytest.mark.parametrize(
    ("layout", "build", "one"),
    [
        (
            replicas.scaled(LCDP(), counts={"test": 2}),
            replicas.lcdp,
            "lcdp_dataset/test-input/a0017-IMG_0005.png",
        ),
        (replicas.scaled(BAID(), counts={"test": 4}), replicas.baid, "BAID/test/resize_gt/0152.png"),
        (replicas.scaled(SICEV2(), counts={"test": 4}), replicas.sice_v2, "SICEV2/test/low/23.JPG"),
        (
            replicas.scaled(Backlit300(), folders={"Backlit300": 3}),
            replicas.backlit300,
            "Backlit300/1.jpg",
        ),
        (
            replicas.scaled(MSEC(), counts={"test": 10}),
            replicas.msec,
            f"MSEC/testing/expert_c_testing_set/{replicas.MSEC_SCENES['test'][0]}.jpg",
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_test_split_is_complete_until_a_photograph_is_gone(
    tmp_path: Path, layout: Layout, build: Callable[[Path], Path], one: str
) -> None:
    home = layout.home(build(tmp_path))
    assert layout.is_complete(home, layout.list(tmp_path).rows, "test")
    assert not layout.is_complete(home, layout.list(tmp_path).rows, "val")
    (tmp_path / one).unlink()
    assert not layout.is_complete(home, layout.list(tmp_path).rows, "test")


def test_figures_over_all_experts_are_not_msecs(tmp_path: Path) -> None:
    layout = replicas.scaled(MSEC("all"), counts={"test": 10})
    home = layout.home(replicas.msec(tmp_path))
    assert not layout.is_complete(home, layout.list(tmp_path).rows, "test")


def test_the_test_split_of_sice_is_complete_with_both_photographs_of_all_its_scenes(tmp_path: Path) -> None:
    layout = small_sice()
    home = replicas.sice(tmp_path, PARTS) / "SICE"
    rows = layout.list(home).rows
    assert layout.is_complete(home, rows, "test")
    assert not layout.is_complete(home, [row for row in rows if row.label == "over"], "test")
    gone = min(layout.test_scenes)
    assert not layout.is_complete(home, [row for row in rows if row.scene != gone], "test")
    assert SICE().counts == {"test": 2 * SICE().tested}


def test_the_inputs_of_a_sice_bracket_are_its_second_and_last_but_one_exposure(tmp_path: Path) -> None:
    # Ten and more exposures tell sorting by number from sorting by name.
    root = replicas.sice(tmp_path, PARTS, exposures=11)
    rows = clean(small_sice(exposures=11).list(root))
    first = [row for row in rows if row.scene == "part1/1"]
    files = [(row.input.name, row.reference.name if row.reference else "", row.label) for row in first]
    assert files == [("2.JPG", "6.JPG", "under"), ("10.JPG", "6.JPG", "over")]
    assert [row.scene for row in rows[::2]] == [
        f"{part}/{number}" for part, count in PARTS.items() for number in range(1, count + 1)
    ]


def test_of_two_middle_exposures_the_brighter_is_the_reference(tmp_path: Path) -> None:
    root = replicas.sice(tmp_path, PARTS, exposures=8)
    under, over, *_ = clean(small_sice(exposures=8).list(root))
    assert [row.input.name for row in (under, over)] == ["2.JPG", "7.JPG"]
    assert {row.reference.name for row in (under, over) if row.reference} == {"5.JPG"}


@pytest.mark.parametrize("reference", ["middle", "label"])
@pytest.mark.parametrize("how", ["gap", "twice"])
def test_a_bracket_with_a_number_left_out_or_taken_twice_is_left_out(
    tmp_path: Path, reference: str, how: str
) -> None:
    root = replicas.sice(tmp_path, PARTS)
    bracket = root / "SICE/Dataset_Part1/2"
    (bracket / "1.JPG").rename(bracket / ("9.JPG" if how == "gap" else "02.jpg"))
    if how == "twice":
        replicas.put(bracket / "1.JPG")
    listing = small_sice(reference).list(root)
    assert {row.scene for row in listing.rows} == {
        f"{part}/{number}" for part, count in PARTS.items() for number in range(1, count + 1)
    } - {"part1/2"}
    assert {one.where for one in listing.findings if one.fault} == {str(bracket)}


def test_sice_has_more_files_than_its_rows_and_links_to_brackets_are_followed(tmp_path: Path) -> None:
    home = replicas.sice(tmp_path, PARTS) / "SICE"
    (home / "Dataset_Part2/1").rename(tmp_path / "elsewhere")
    (home / "Dataset_Part2/1").symlink_to(tmp_path / "elsewhere")
    layout = small_sice()
    files = layout.files(home, layout.list(home).rows)
    assert len(files) == len(set(files)) == 7 * 7 + 7
    assert home / "Dataset_Part2/1/6.JPG" in files
    assert home / "Dataset_Part2/Label/1.PNG" in files
    lcdp = LCDP()
    rows = lcdp.list(replicas.lcdp(tmp_path)).rows
    assert set(lcdp.files(lcdp.home(tmp_path), rows)) == {path for row in rows for path in row.files}


@pytest.mark.parametrize("beside", [False, True])
def test_sice_may_take_the_fused_photograph_for_reference(tmp_path: Path, beside: bool) -> None:
    root = replicas.sice(tmp_path, PARTS, label_beside=beside)
    rows = clean(small_sice("label").list(root))
    labels = [row.reference.name for row in rows[::2] if row.reference]
    assert labels == ["1.JPG", "2.JPG", "3.JPG", "4.JPG", "1.PNG", "2.PNG", "3.PNG"]
    assert all(row.reference and row.reference.parent.name == "Label" for row in rows)
    assert all((row.input.parent.name, row.label) == (row.scene.split("/")[1], row.label) for row in rows)


def test_the_test_scenes_of_sice_are_thirty_and_do_not_depend_on_what_is_there(tmp_path: Path) -> None:
    scenes = SICE().test_scenes
    assert len(scenes) == 30
    assert {scene.split("/")[0] for scene in scenes} == {"part1", "part2"}
    # Drawn once for all: another draw would let models be tested on what they were trained on.
    assert {"part1/14", "part1/349", "part2/1", "part2/226"} <= scenes
    root = replicas.sice(tmp_path, PARTS)
    by_scene = {row.scene: row.split for row in small_sice().list(root).rows}
    assert {scene for scene, split in by_scene.items() if split == "test"} == small_sice().test_scenes
    gone = min(small_sice().test_scenes)
    for path in (tmp_path / "SICE" / f"Dataset_P{gone[1:]}").iterdir():
        path.unlink()
    left = {row.scene: row.split for row in small_sice().list(root).rows}
    assert left == {scene: split for scene, split in by_scene.items() if scene != gone}


@pytest.mark.parametrize(
    ("exposures", "reference", "fault", "usable"),
    [
        (2, "middle", True, False),
        (3, "middle", False, False),
        (4, "middle", False, False),
        (5, "middle", False, True),
        (3, "label", False, False),
        (4, "label", False, True),
    ],
)
def test_a_bracket_in_which_an_input_would_be_the_reference_is_left_out(
    tmp_path: Path, exposures: int, reference: str, fault: bool, usable: bool
) -> None:
    listing = small_sice(reference, exposures).list(replicas.sice(tmp_path, PARTS, exposures))
    assert len(listing.rows) == (14 if usable else 0)
    assert all(row.input != row.reference for row in listing.rows)
    kinds = Counter((finding.kind, finding.fault) for finding in listing.findings)
    assert kinds == ({} if usable else {("count", fault): 7})


@pytest.mark.parametrize("reference", ["mid", "gt"])
def test_sice_v2_has_an_under_and_an_over_exposed_photograph_of_each_scene(
    tmp_path: Path, reference: str
) -> None:
    rows = clean(SICEV2().list(replicas.sice_v2(tmp_path, reference)))
    assert named(rows, "test") == [
        ("low/110.JPG", f"{reference}/110.JPG", "under"),
        ("low/23.JPG", f"{reference}/23.JPG", "under"),
        ("over/110.JPG", f"{reference}/110.JPG", "over"),
        ("over/23.JPG", f"{reference}/23.JPG", "over"),
    ]
    assert {row.scene for row in rows if row.split == "train"} == {"1", "2", "10"}


def test_own_pairs_are_two_folders_of_each_split(tmp_path: Path) -> None:
    for folder in ("dark", "bright", "test dark"):
        for name in ("one.jpg", "two.jpg"):
            replicas.put(tmp_path / folder / name)
    layout = PairFolders("dark", str(tmp_path / "bright"), test_input="test dark")
    rows = clean(layout.list(tmp_path))
    assert named(rows, "train") == [
        ("dark/one.jpg", "bright/one.jpg", "unknown"),
        ("dark/two.jpg", "bright/two.jpg", "unknown"),
    ]
    assert named(rows, "test") == [
        ("test dark/one.jpg", None, "unknown"),
        ("test dark/two.jpg", None, "unknown"),
    ]
    assert len({row.scene for row in rows}) == 4


@pytest.mark.parametrize(
    ("folders", "key"),
    [
        ({"train_input": "gone"}, r"^data\.layout\.train_input: .*gone does not exist"),
        ({"train_reference": ""}, r"^data\.layout\.train_reference is not set"),
        ({"val_input": "dark"}, r"^data\.layout\.val_reference is not set"),
        ({"test_reference": "dark"}, r"^data\.layout\.test_input is not set"),
        ({"train_reference": "empty"}, r"^data\.layout\.train_reference: no photographs in"),
        (
            {"train_reference": "other"},
            r"^data\.layout\.train_input and data\.layout\.train_reference: no input",
        ),
    ],
)
def test_folders_of_own_pairs_that_cannot_be_used_are_named_by_their_key(
    tmp_path: Path, folders: dict[str, str], key: str
) -> None:
    for path in ("dark/one.jpg", "bright/one.jpg", "other/two.jpg"):
        replicas.put(tmp_path / path)
    (tmp_path / "empty").mkdir()
    layout = PairFolders(**{"train_input": "dark", "train_reference": "bright", **folders})
    with pytest.raises(ConfigurationError, match=key):
        layout.list(tmp_path)


def test_folders_are_found_in_any_case_but_the_exact_one_goes_first(tmp_path: Path) -> None:
    (tmp_path / "Dataset_part1" / "label").mkdir(parents=True)
    assert find_folder(tmp_path, "Dataset_Part1/Label") == tmp_path / "Dataset_part1/label"
    (tmp_path / "Dataset_Part1").mkdir()
    assert find_folder(tmp_path, "Dataset_Part1") == tmp_path / "Dataset_Part1"
    assert find_folder(tmp_path, "Dataset_Part2/Label") == tmp_path / "Dataset_Part2/Label"


def test_a_data_set_lies_at_the_root_or_in_its_own_folder_and_elsewhere_the_error_says_so(
    tmp_path: Path,
) -> None:
    root = replicas.lcdp(tmp_path)
    assert LCDP().home(root) == LCDP().home(root / "lcdp_dataset") == root / "lcdp_dataset"
    with pytest.raises(ConfigurationError, match=r"does not hold MSEC: no training/INPUT_IMAGES .*github"):
        MSEC().list(root)
    with pytest.raises(ConfigurationError, match=r"does not hold Backlit300"):
        Backlit300().list(root)
    with pytest.raises(ConfigurationError, match=r"data\.root: .*gone does not exist"):
        LCDP().list(root / "gone")


def test_layouts_are_found_by_name_and_near_names_are_suggested() -> None:
    assert all(find_layout(name).name == name for name in LAYOUTS)
    assert find_layout("msec") == MSEC(expert="all")
    with pytest.raises(ConfigurationError, match=r"'SICEV2': did you mean sice_v2"):
        find_layout("SICEV2")
    with pytest.raises(ConfigurationError, match=r"no data set 'xyz'. There are baid, "):
        find_layout("xyz")


def test_choices_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"data\.layout\.expert: no expert 'f'"):
        MSEC(expert="f")
    with pytest.raises(ConfigurationError, match=r"data\.layout\.reference: no reference 'hdr'"):
        SICE(reference="hdr")

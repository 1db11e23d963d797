"""``relit evaluate`` from a shell: its figures recomputed, and what is said, written and returned."""

from __future__ import annotations

import csv
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from relit.cli import main
from relit.data.photo import read_photo, resize_photo, write_png
from relit.keyed import keyed_generator
from relit.metrics import PairMetrics
from relit.protocols import find_protocol


@pytest.fixture(autouse=True)
def _working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(path: str, level: int | None = None, height: int = 12, width: int = 15) -> None:
    """A photograph of one level, or of random pixels that its path decides."""
    pixels = torch.randint(0, 256, (height, width, 3), generator=keyed_generator(path), dtype=torch.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels if level is None else torch.full_like(pixels, level)).numpy()).save(path)


def evaluated(*options: str, status: int = 0) -> dict[str, Any]:
    """The report on ``pred`` against ``gt``."""
    assert (
        main(["evaluate", "--pred", "pred", "--gt", "gt", "--json", "out/figures.json", *options]) == status
    )
    report: dict[str, Any] = json.loads(Path("out/figures.json").read_text())
    return report


def refusal(capsys: pytest.CaptureFixture[str], *options: str, pred: str = "pred", gt: str = "gt") -> str:
    """What is said, in one line, when the command is refused with status 2."""
    assert main(["evaluate", "--pred", pred, "--gt", gt, *options]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("relit evaluate: ")
    assert said.err.count("\n") == 1
    return said.err


def test_figures_are_those_of_the_metrics_and_their_means() -> None:
    for name in ("a.png", "b.png", "deep/a.png"):
        put(f"pred/{name}")
        put(f"gt/{name}")
    metrics, singly = PairMetrics(), {}
    for name in ("a.png", "b.png", "deep/a.png"):
        one = PairMetrics()
        for both in (metrics, one):
            both.update(*(read_photo(f"{folder}/{name}")[None] / 255 for folder in ("pred", "gt")))
        singly[name] = {key: value.item() for key, value in one.compute().items()}
    report = evaluated()
    assert {image.pop("name"): pytest.approx(image) for image in report["per_image"]} == singly
    means = {key: value.item() for key, value in metrics.compute().items()}
    assert {key: report[key] for key in means} == pytest.approx(means)
    assert report["images"] == 3
    assert report["unmatched"] == []


def test_a_known_difference_gives_the_psnr_of_its_equation() -> None:
    for name, level in (("a", 100), ("b", 120)):
        put(f"pred/{name}.png", level)
        put(f"gt/{name}.png", 110 if name == "a" else 160)
    report = evaluated()
    by_hand = [20 * math.log10(255 / difference) for difference in (10, 40)]
    assert [image["psnr"] for image in report["per_image"]] == pytest.approx(by_hand, abs=1e-4)
    assert report["psnr"] == pytest.approx(sum(by_hand) / 2, abs=1e-4)  # not the PSNR of the mean error


def test_the_right_gamma_scores_better_than_no_gamma() -> None:
    ramp = np.linspace(0, 1, 64).reshape(8, 8).repeat(4, 0).repeat(4, 1)
    folders = {"gt": ramp, "pred": (ramp**2) ** 0.5, "dark": ramp**2}
    for folder, levels in folders.items():
        Path(folder).mkdir()
        Image.fromarray((levels * 255).round().astype(np.uint8)).convert("RGB").save(f"{folder}/a.png")
    assert evaluated()["psnr"] is None  # undone exactly
    assert main(["evaluate", "--pred", "dark", "--gt", "gt", "--json", "dark.json"]) == 0
    levels = [(folders[name] * 255).round() / 255 for name in ("dark", "gt")]
    by_hand = -10 * math.log10(((levels[0] - levels[1]) ** 2).mean())
    assert json.loads(Path("dark.json").read_text())["psnr"] == pytest.approx(by_hand, abs=1e-4)


def test_equal_photographs_have_an_infinite_psnr_which_is_null_in_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a", "b"):
        put(f"pred/{name}.png", 50)
        put(f"gt/{name}.png", 50 if name == "a" else 60)
    report = evaluated()
    assert [image["psnr"] is None for image in report["per_image"]] == [True, False]
    assert report["per_image"][0]["ssim"] == pytest.approx(1)
    assert report["psnr"] is None
    assert "inf" in capsys.readouterr().out


def cells(line: str) -> list[str]:
    """Those of a row of a markdown table."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_and_the_report_name_the_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    put("pred/a.png", 100)
    put("gt/a.png", 110)
    for name in ("rgb8", "y_channel"):
        report = evaluated("--protocol", name)
        assert report["protocol"] == {"name": name, "description": find_protocol(name).description}
        assert report["pred"] == "pred"
        said = capsys.readouterr()
        assert said.err == ""
        head, rule, figures, _, protocol, written = said.out.splitlines()
        assert cells(head) == ["method", "PSNR (dB)", "SSIM"]
        assert [cell.strip("-") for cell in cells(rule)] == ["", ":", ":"]
        assert cells(figures) == ["pred", f"{report['psnr']:.2f}", f"{report['ssim']:.3f}"]
        assert protocol == f"1 image, protocol {name}"
        assert written == "figures: out/figures.json"


def test_without_json_nothing_is_written(tmp_path: Path) -> None:
    put("pred/a.png")
    put("gt/a.png")
    assert main(["evaluate", "--pred", "pred", "--gt", "gt"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"pred", "gt"}


def test_extensions_and_case_may_differ() -> None:
    for result, reference in (("a.png", "A.PNG"), ("b.png", "b.BMP"), ("Deep/c.png", "deep/C.bmp")):
        put(f"pred/{result}", 10)
        put(f"gt/{reference}", 20)
    assert [image["name"] for image in evaluated()["per_image"]] == ["a.png", "b.png", "Deep/c.png"]


def test_files_without_a_partner_are_told_and_the_others_compared(capsys: pytest.CaptureFixture[str]) -> None:
    for path in ("pred/a.png", "gt/a.png", "pred/only.png", "gt/lonely.png", "gt/deep/a.png"):
        put(path)
    report = evaluated(status=1)
    assert report["images"] == 1
    reasons = {"pred/only.png": "no references", "gt/lonely.png": "no result", "gt/deep/a.png": "no result"}
    assert {one["file"]: one["reason"] for one in report["unmatched"]} == reasons
    said = capsys.readouterr().err
    assert said.startswith("relit evaluate: 3 files without a partner: ")
    assert all(path in said for path in reasons)


def test_a_reference_that_is_a_pixel_larger_is_resized_to_the_result() -> None:
    put("pred/a.png", height=16, width=13)
    put("gt/a.png", height=17, width=12)
    by_hand = PairMetrics()
    result, reference = read_photo("pred/a.png"), resize_photo(read_photo("gt/a.png"), (16, 13))
    by_hand.update(result[None] / 255, reference[None] / 255)
    report = evaluated()
    figures = {key: value.item() for key, value in by_hand.compute().items()}
    assert {key: report[key] for key in figures} == pytest.approx(figures)


def test_what_cannot_be_compared_is_named_and_the_others_are_compared(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("good", "larger", "broken", "flawed"):
        put(f"pred/{name}.png")
        put(f"gt/{name}.png", width=18 if name == "larger" else 15)
    for path in ("pred/broken.png", "gt/flawed.png"):
        Path(path).write_bytes(b"no photograph")
    for folder in ("pred", "gt"):
        put(f"{folder}/small.png", height=10)
    for path in ("pred/twice.jpg", "pred/twice.png", "gt/twice.bmp"):
        put(path)
    report = evaluated(status=1)
    assert [image["name"] for image in report["per_image"]] == ["good.png"]
    reasons = {one["file"]: one["reason"] for one in report["left_out"]}
    assert reasons.keys() == {"pred/broken.png", "gt/flawed.png", "pred/larger.png", "pred/small.png"}
    assert "15x12 and 18x12 (gt/larger.png)" in reasons["pred/larger.png"]
    assert "11x11" in reasons["pred/small.png"]
    twice = {one["file"]: one["reason"] for one in report["unmatched"]}
    assert twice == dict.fromkeys(("pred/twice.jpg", "pred/twice.png"), "one of 2 results for gt/twice.bmp")
    said = capsys.readouterr().err
    assert "relit evaluate: 4 files left out: " in said
    assert "relit evaluate: 2 files without a partner: " in said
    assert all(path in said for path in (*reasons, *twice))


def test_where_nothing_can_be_compared_one_line_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    put("pred/a.png")
    put("larger/a.png", width=18)
    assert "pred/a.png: result and reference differ in size" in refusal(capsys, gt="larger")
    put("else/b.png")
    assert "no result has the name of a reference in else" in refusal(capsys, gt="else")
    put("twice/a.png")
    put("twice/a.jpg")
    put("bmp/a.bmp")
    assert "one of 2 results for bmp/a.bmp" in refusal(capsys, pred="twice", gt="bmp")
    Path("broken").mkdir()
    Path("broken/a.png").write_bytes(b"no photograph")
    assert "broken/a.png: not an image" in refusal(capsys, gt="broken")


def test_wrong_arguments_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    put("pred/a.png")
    put("gt/a.png")
    Path("empty").mkdir()
    assert "--protocol: no protocol 'psnr'. There are rgb8" in refusal(capsys, "--protocol", "psnr")
    assert "nowhere: does not exist" in refusal(capsys, pred="nowhere")
    assert "pred/a.png: is not a folder" in refusal(capsys, gt="pred/a.png")
    assert "empty: no photographs" in refusal(capsys, gt="empty")
    assert "is a folder" in refusal(capsys, "--json", "gt")
    assert "gt/a.png/x.json: " in refusal(capsys, "--json", "gt/a.png/x.json")
    assert "--csv gt: is a folder" in refusal(capsys, "--csv", "gt")
    assert "--metrics: no metric 'fid'" in refusal(capsys, "--metrics", "psnr,fid")
    assert "two methods are named 'pred'" in refusal(capsys, "--pred", "pred")
    assert "expected DIR or NAME=DIR" in refusal(capsys, "--pred", "=pred")
    assert "none of the metrics compares" in refusal(capsys, "--protocol", "backlit300")
    assert "backlit300 has no references" in refusal(capsys, "--protocol", "backlit300", "--metrics", "psnr")
    assert main(["evaluate", "--pred", "pred"]) == 2
    assert "psnr and ssim need the folder of references" in capsys.readouterr().err


def test_the_csv_file_has_every_image_with_its_protocol() -> None:
    for name, level in (("a", 100), ("b", 110)):
        put(f"pred/{name}.png", level)
        put(f"gt/{name}.png", 110)
    report = evaluated("--csv", "out/scores.csv")
    with Path("out/scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["name"]) for row in rows] == [("pred", "a.png"), ("pred", "b.png")]
    assert float(rows[0]["psnr"]) == pytest.approx(20 * math.log10(25.5), abs=1e-4)
    assert float(rows[1]["psnr"]) == math.inf
    for row, image in zip(rows, report["per_image"], strict=True):
        assert float(row["ssim"]) == image["ssim"]
        assert row["protocol"] == report["protocol"]["name"]


def test_one_file_cannot_hold_both_kinds_of_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert "both name out/scores" in refusal(capsys, "--json", "out/scores", "--csv", "out/scores")
    assert not Path("out").exists()


def test_methods_are_compared_on_the_images_that_all_have(capsys: pytest.CaptureFixture[str]) -> None:
    levels = {"near": 105, "far": 120, "farther": 140}
    for method, level in levels.items():
        for name in ("a", "b"):
            put(f"{method}/{name}.png", level)
    for name in ("a", "b", "c", "d", "e"):
        put(f"gt/{name}.png", 100)
    put("near/c.png", 0)  # the others have no c: it would cost near its first place
    for method in levels:
        put(f"{method}/d.png", 100)
    Path("far/d.png").write_bytes(b"no photograph")  # left out for all
    named = ["--pred", "far", "--pred", "farther", "--pred", "mine=near"]
    assert main(["evaluate", *named, "--gt", "gt", "--json", "all.json", "--csv", "all.csv"]) == 1
    said = capsys.readouterr()
    rows = {row[0]: row[1:] for row in map(cells, said.out.splitlines()[2:5])}
    by_hand = {name: f"{20 * math.log10(255 / (level - 100)):.2f}" for name, level in levels.items()}
    assert rows["mine"][0] == f"{by_hand['near']} *"
    assert rows["far"][0] == f"{by_hand['far']} +"
    assert rows["farther"][0] == by_hand["farther"]
    assert "2 images, protocol rgb8" in said.out
    assert "* best, + second best" in said.out
    assert "left out: 1 of farther, 2 of mine" in said.out
    assert "far/d.png" in said.err
    report = json.loads(Path("all.json").read_text())
    assert report["images"] == 2
    assert list(report["methods"]) == ["far", "farther", "mine"]
    assert report["methods"]["mine"]["pred"] == "near"
    assert report["methods"]["mine"]["psnr"] == pytest.approx(20 * math.log10(51), abs=1e-4)
    with Path("all.csv").open(newline="") as file:
        compared = [(row["method"], row["name"]) for row in csv.DictReader(file)]
    assert compared == [(method, name) for method in report["methods"] for name in ("a.png", "b.png")]


def test_methods_with_equal_figures_share_the_mark(capsys: pytest.CaptureFixture[str]) -> None:
    for folder, level in (("one", 110), ("other", 110), ("gt", 100)):
        put(f"{folder}/a.png", level)
    assert main(["evaluate", "--pred", "one", "--pred", "other", "--gt", "gt"]) == 0
    rows = [cells(line) for line in capsys.readouterr().out.splitlines()[2:4]]
    assert all(cell.endswith("*") for row in rows for cell in row[1:])


def test_large_photographs_are_reduced_to_the_long_side_of_the_protocol() -> None:
    put("pred/a.png", height=40, width=2100)
    put("gt/a.png", height=40, width=2100)
    small = [resize_photo(read_photo(f"{folder}/a.png"), (39, 2048))[None] / 255 for folder in ("pred", "gt")]
    metrics = PairMetrics()
    metrics.update(*small)
    by_hand = {key: value.item() for key, value in metrics.compute().items()}
    report = evaluated("--protocol", "baid", "--metrics", "psnr,ssim")
    assert {key: report[key] for key in by_hand} == pytest.approx(by_hand)
    # results that were reduced before they were written are compared, too
    write_png("pred/a.png", small[0][0])
    again = evaluated("--protocol", "baid", "--metrics", "psnr,ssim")
    assert {key: again[key] for key in by_hand} == pytest.approx(by_hand)


def test_copies_among_baids_photographs_count_once(capsys: pytest.CaptureFixture[str]) -> None:
    for name, level in (("0152", 100), ("0153", 120)):
        put(f"pred/{name}.png", level)
        put(f"gt/{name}.png", 110)
    for folder in ("pred", "gt"):
        Path(f"{folder}/0152(2).png").write_bytes(Path(f"{folder}/0152.png").read_bytes())
    report = evaluated("--protocol", "baid", "--metrics", "psnr")
    assert [image["name"] for image in report["per_image"]] == ["0152.png", "0153.png"]
    assert "0152(2).png (a copy of 0152.png)" in capsys.readouterr().out
    assert evaluated("--metrics", "psnr")["images"] == 3


def test_what_is_a_copy_for_one_method_is_one_for_all() -> None:
    for name, level in (("0152", 100), ("0152(2)", 100), ("0153", 120)):
        put(f"gt/{name}.png", 110)
        put(f"a/{name}.png", level + (name == "0152(2)"))
        put(f"b/{name}.png", level)
    found = []
    for order in (("a", "b"), ("b", "a")):
        methods = [option for name in order for option in ("--pred", f"{name}={name}")]
        said = ["evaluate", *methods, "--gt", "gt", "--protocol", "baid", "--metrics", "psnr"]
        assert main([*said, "--json", "figures.json"]) == 0
        report = json.loads(Path("figures.json").read_text())
        found.append({name: method["psnr"] for name, method in report["methods"].items()})
        assert report["images"] == 2
    assert found[0] == found[1]
    assert found[0]["a"] == pytest.approx(found[0]["b"])


def test_comparisons_beside_results_are_no_results() -> None:
    for name in ("a", "b-compare"):
        put(f"pred/{name}.png")
        put(f"gt/{name}.png")
    put("pred/a-compare.png", width=31)
    report = evaluated("--metrics", "psnr")
    assert [image["name"] for image in report["per_image"]] == ["a.png", "b-compare.png"]


EXPERTS = "abcde"


def msec(scenes: tuple[str, ...] = ("a0001-dgw_005", "a0002-IMG_7")) -> None:
    """Results of one level per exposure, references of one level per expert."""
    for scene in scenes:
        for exposure, level in (("N1.5", 60), ("N1", 80), ("0", 100), ("P1", 140), ("P1.5", 200)):
            put(f"pred/{scene}_{exposure}.png", level)
        for expert in EXPERTS:
            put(f"gt/expert_{expert}_testing_set/{scene}.jpg", 100 + 5 * EXPERTS.index(expert))


def test_msec_gives_every_expert_their_mean_and_expert_c_first(capsys: pytest.CaptureFixture[str]) -> None:
    msec()
    report = evaluated("--protocol", "msec", "--metrics", "psnr")

    def by_hand(levels: tuple[int, ...], expert: str) -> float:
        target = 100 + 5 * EXPERTS.index(expert)
        return sum(20 * math.log10(255 / abs(level - target)) for level in levels) / len(levels)

    under, over = (60, 80), (100, 140, 200)
    assert report["images"] == 10
    assert report["psnr"] == pytest.approx(by_hand(under + over, "c"), abs=1e-4)
    groups = report["groups"]
    assert groups["under"]["psnr"] == pytest.approx(by_hand(under, "c"), abs=1e-4)
    assert groups["over"]["psnr"] == pytest.approx(by_hand(over, "c"), abs=1e-4)
    assert groups["expert e"]["psnr"] == pytest.approx(by_hand(under + over, "e"), abs=1e-4)
    assert groups["expert a"]["psnr"] is None  # a result at 0 EV equals it
    assert groups["mean of a, b, c, d, e"]["psnr"] is None
    assert len(report["per_image"]) == 50
    rows = [cells(line)[0] for line in capsys.readouterr().out.splitlines()[2:10]]
    assert rows == ["all", "under", "over", *(f"expert {e}" for e in EXPERTS)]


def test_the_mean_of_experts_is_that_of_their_figures() -> None:
    msec()
    for path in Path("pred").glob("*_0.png"):
        put(str(path), 99)
    groups = evaluated("--protocol", "msec", "--metrics", "psnr")["groups"]
    singly = [groups[f"expert {expert}"]["psnr"] for expert in EXPERTS]
    assert len(set(singly)) == 5
    assert groups["mean of a, b, c, d, e"]["psnr"] == pytest.approx(sum(singly) / 5)


def test_msec_compares_with_the_one_expert_whose_folder_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    msec()
    Path("gt").rename("testing")
    Path("testing/expert_d_testing_set").rename("gt")
    report = evaluated("--protocol", "msec", "--metrics", "psnr")
    assert list(report["groups"]) == ["under", "over"]
    assert len(report["per_image"]) == 10
    for expert in "bc":
        Path(f"testing/expert_{expert}_testing_set").rename(expert)
    capsys.readouterr()
    said = refusal(capsys, "--protocol", "msec", gt="testing")
    assert "holds expert_a_testing_set, but not that of expert C" in said


def test_msec_names_exposures_that_are_missing_or_unknown() -> None:
    msec()
    Path("pred/a0001-dgw_005_P1.png").unlink()
    put("pred/a0002-IMG_7.png")
    report = evaluated("--protocol", "msec", "--metrics", "psnr", status=1)
    assert report["images"] == 9
    reasons = {Path(one["file"]).name: one["reason"] for one in report["unmatched"]}
    assert reasons["a0001-dgw_005.jpg"] == "no result of exposure P1"
    assert "does not end in an exposure" in reasons["a0002-IMG_7.png"]


@pytest.mark.parametrize(("low", "references"), [("low", "gt"), ("Under", "gt/mid")])
def test_sice_gives_under_over_and_the_mean_over_both(low: str, references: str) -> None:
    for scene in ("1", "2"):
        put(f"pred/{low}/{scene}.png", 90)
        put(f"pred/over/{scene}.png", 120)
        put(f"{references}/{scene}.JPG", 100)
    report = evaluated("--protocol", "sice", "--metrics", "psnr")
    under, over = (20 * math.log10(255 / difference) for difference in (10, 20))
    assert report["groups"]["under"]["psnr"] == pytest.approx(under, abs=1e-4)
    assert report["groups"]["over"]["psnr"] == pytest.approx(over, abs=1e-4)
    assert report["psnr"] == pytest.approx((under + over) / 2, abs=1e-4)
    assert report["per_image"][0] == {
        "name": f"{low}/1.png",
        "label": "under",
        "psnr": pytest.approx(under, abs=1e-4),
    }


def test_sice_compares_with_the_middle_where_the_inputs_lie_beside_it() -> None:
    """The published folder: low, over and mid."""
    for folder, level in (("low", 90), ("over", 120)):
        put(f"pred/{folder}/1.png", level)
        put(f"gt/{folder}/1.png", level)
    put("gt/mid/1.png", 100)
    report = evaluated("--protocol", "sice", "--metrics", "psnr")
    under, over = (20 * math.log10(255 / difference) for difference in (10, 20))
    assert report["psnr"] == pytest.approx((under + over) / 2, abs=1e-4)


def test_sice_wants_both_exposures(capsys: pytest.CaptureFixture[str]) -> None:
    put("pred/over/1.png", 90)
    put("pred/stray.png", 90)
    put("gt/1.png", 100)
    report = evaluated("--protocol", "sice", "--metrics", "psnr", status=1)
    assert report["images"] == 1
    assert report["unmatched"] == [{"file": "pred/stray.png", "reason": "not in a folder low, under or over"}]
    assert "no under-exposed results in the folder low or under" in capsys.readouterr().err


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing fetched so far, and nobody to fetch from; the folder that weights would be in."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_metrics_without_weights_are_reported_as_unavailable(
    no_network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put("pred/a.png", 100)
    put("gt/a.png", 110)
    report = evaluated("--protocol", "baid", "--csv", "scores.csv")
    assert report["unavailable"].keys() == {"lpips", "musiq"}
    assert not {"lpips", "musiq"} & {*report, *report["per_image"][0]}
    assert report["psnr"] == pytest.approx(20 * math.log10(25.5), abs=1e-4)
    assert "lpips" not in Path("scores.csv").read_text().splitlines()[0]
    said = capsys.readouterr().out.splitlines()
    lpips, musiq = (
        next(line for line in said if line.startswith(f"{name} is")) for name in ("LPIPS", "MUSIQ")
    )
    assert f"Put alexnet-owt-7be5be79.pth of https://download.pytorch.org/models into {no_network}" in lpips
    assert "PolyForm Noncommercial" in musiq
    assert cells(said[0]) == ["method", "PSNR (dB)", "SSIM"]
    # asked for by name, it counts as a fault; alone, nothing can be measured
    evaluated("--metrics", "psnr,lpips", status=1)
    capsys.readouterr()
    assert "no metric is available. lpips: AlexNet's weights" in refusal(capsys, "--metrics", "lpips")
    assert main(["evaluate", "--pred", "pred", "--protocol", "backlit300"]) == 2
    assert "no metric is available. musiq: " in capsys.readouterr().err


def test_lpips_is_measured_with_the_weights_in_torchs_folder(no_network: Path) -> None:
    no_network.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), no_network / "alexnet-owt-7be5be79.pth")
    for name, result in (("equal", "gt"), ("other", "pred")):
        put(f"gt/{name}.png", height=40, width=40)
        put(f"pred/{name}.png", height=40, width=40)
        if result == "gt":
            Path(f"pred/{name}.png").write_bytes(Path(f"gt/{name}.png").read_bytes())
    report = evaluated("--metrics", "lpips")
    figures = {image["name"]: image["lpips"] for image in report["per_image"]}
    assert figures["equal.png"] == 0
    assert figures["other.png"] > 0
    assert report["lpips"] == pytest.approx(figures["other.png"] / 2)


def test_musiq_needs_no_references(monkeypatch: pytest.MonkeyPatch) -> None:
    # the real one is an extra with weights of 100 MB; this is what pyiqa's interface promises of it
    seen: list[torch.Tensor] = []

    def create_metric(name: str, device: torch.device) -> Any:
        assert name == "musiq"
        return lambda image: seen.append(image) or image.mean(dim=(1, 2, 3), keepdim=True)[..., 0, 0] * 100

    monkeypatch.setitem(sys.modules, "pyiqa", SimpleNamespace(create_metric=create_metric))
    put("pred/a.png", 51, height=40, width=2100)
    put("pred/deep/b.png", 102)
    assert main(["evaluate", "--pred", "pred", "--protocol", "backlit300", "--json", "f.json"]) == 0
    report = json.loads(Path("f.json").read_text())
    assert [tuple(image.shape) for image in seen] == [(1, 3, 39, 2048), (1, 3, 12, 15)]
    assert report["musiq"] == pytest.approx(30)
    assert "gt" not in report


@pytest.mark.slow
def test_the_released_weights_reach_their_figures_through_the_commands(shared: Path) -> None:
    """30 real scenes, under-exposed to middle frame, bicubic to 256x256: 18.08 dB, protocol rgb8."""
    scenes = shared / "photos" / "SICEV2" / "test"
    for exposure in ("low", "mid"):
        for path in sorted((scenes / exposure).iterdir()):
            write_png(f"{exposure}/{path.stem}.png", resize_photo(read_photo(path), 256))
    released = shared / "checkpoints" / "clip_lit" / "enhancement_model.pth"
    assert main(["import", str(released), "-o", "w.safetensors"]) == 0
    assert main(["enhance", "low", "-o", "pred", "--weights", "w.safetensors", "--device", "cpu"]) == 0
    Path("mid").rename("gt")
    report = evaluated()
    assert report["images"] == 30
    assert report["psnr"] == pytest.approx(18.078, abs=0.005)
    assert report["ssim"] == pytest.approx(0.828, abs=0.002)

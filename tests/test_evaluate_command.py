"""``relit evaluate`` from a shell: its figures recomputed, and what is said, written and returned."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
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


def test_the_table_and_the_report_name_the_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    put("pred/a.png", 100)
    put("gt/a.png", 110)
    for name in ("rgb8", "lcdp"):
        report = evaluated("--protocol", name)
        assert report["protocol"] == {"name": name, "description": find_protocol(name).description}
        assert report["pred"] == "pred"
        said = capsys.readouterr()
        assert said.err == ""
        head, figures, protocol, written = said.out.splitlines()
        assert head.split() == ["PSNR", "(dB)", "SSIM"]
        assert figures.split() == [f"{report['psnr']:.2f}", f"{report['ssim']:.3f}"]
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


def test_what_cannot_be_compared_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    put("pred/a.png")
    for folder, size in (("larger", (12, 18)), ("other", (12, 15))):
        put(f"{folder}/a.png", height=size[0], width=size[1])
    said = refusal(capsys, gt="larger")
    assert "pred/a.png and larger/a.png" in said
    assert "15x12 and 18x12" in said
    put("small/a.png", height=10, width=15)
    assert "small/a.png: SSIM needs" in refusal(capsys, pred="small", gt="other")
    put("twice/a.png")
    put("twice/a.jpg")
    put("bmp/a.bmp")
    assert "twice/a.jpg and twice/a.png" in refusal(capsys, pred="twice", gt="bmp")
    put("else/b.png")
    assert "no result has the name of a reference in else" in refusal(capsys, gt="else")
    Path("broken").mkdir()
    Path("broken/a.png").write_bytes(b"no photograph")
    assert "broken/a.png cannot be read" in refusal(capsys, gt="broken")


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

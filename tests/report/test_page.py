"""The page of one run, and of several: every figure, every picture, and nothing from elsewhere."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from parsed_page import Page
from PIL import Image
from written_run import SIZE, figures, pictures, written_run

from relit.cli import main
from relit.data.photo import write_png
from relit.errors import ConfigurationError
from relit.grids import before_after
from relit.metrics_file import write_metrics
from relit.protocols import RGB8
from relit.report.embedded import embed
from relit.report.finish import write_report
from relit.report.page import write_page
from relit.run_context import RunContext
from relit.run_scores import Scored, write_scores


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_run(tmp_path_factory.mktemp("runs") / "alpha", note="<script>alert(1)</script> & 'x'")


@pytest.fixture(scope="module")
def text(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("pages") / "alpha.html"
    write_page([run_dir], file)
    return file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def written(tmp_path: Path, *runs: Path) -> Page:
    write_page(list(runs), tmp_path / "page.html")
    return Page((tmp_path / "page.html").read_text(encoding="utf-8"))


# --- one run ---


def test_a_figure_that_is_no_number_is_shown_as_such_and_is_never_the_best(tmp_path: Path) -> None:
    sound, broken = (written_run(tmp_path / name) for name in ("sound", "broken"))
    report = figures(0)
    report["result"]["psnr"] = float("nan")
    write_metrics(broken, report)
    page = written(tmp_path, sound, broken)
    cells = [text for row in page.rows for text, _ in row]
    assert any("best" in cell for cell in cells)
    assert "nan" in cells
    assert not [cell for cell in cells if "best" in cell and ("nan" in cell or "∞" in cell)]


def test_damage_of_a_log_costs_the_page_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = written_run(tmp_path / "run")
    (run / "logs" / "version_old").mkdir()
    (run / "logs" / "version_old" / "metrics.csv").write_text("step\n")
    write_page([run], tmp_path / "page.html")
    log = run / "logs" / "version_0" / "metrics.csv"
    log.write_text(log.read_text() + "0,x,,,,50\n")
    with pytest.raises(ConfigurationError, match=r"version_0/metrics\.csv: reference_priors/loss of step 50"):
        write_page([run], tmp_path / "page.html")


def test_the_head_tells_which_run_it_is(page: Page) -> None:
    assert page.texts["h1"] == ["alpha"]
    assert page.texts["title"][0].startswith("alpha")
    facts = dict(zip(page.texts["dt"], page.texts["dd"], strict=False))
    assert facts["Method"] == "CLIP-RestoreX"
    assert facts["Seed"] == "0"
    assert facts["Steps"] == "42 (2 of 2 stages)"
    assert facts["Trained"] == "2026-03-04 05:06 UTC"
    line = "PSNR (dB) 14.29 → 20.74, SSIM 0.721 → 0.818; 3 photographs (test), protocol rgb8."
    assert line in page.texts["p"]


@pytest.mark.parametrize("label", ["all", "under"])
@pytest.mark.parametrize("kind", ["input", "result", "by_reference_priors"])
def test_every_figure_stands_in_a_table_with_its_protocol(page: Page, label: str, kind: str) -> None:
    metrics = figures(0)
    expected = (metrics if label == "all" else metrics["by_label"][label])[kind]
    (psnr, exact_psnr), (ssim, exact_ssim) = page.row(label, kind.replace("_", " "))
    # null is the infinite PSNR of equal images
    assert exact_psnr == (float("inf") if expected["psnr"] is None else expected["psnr"])
    assert psnr == ("∞" if expected["psnr"] is None else f"{expected['psnr']:.2f}")
    assert (ssim, exact_ssim) == (f"{expected['ssim']:.3f}", expected["ssim"])
    assert any(p.startswith("Protocol rgb8, 3 photographs (test), test size 64.") for p in page.texts["p"])
    assert "Images rounded to 8 bits, RGB & more." in page.texts["dd"]


def test_rounds_are_a_table(tmp_path: Path) -> None:
    run = written_run(tmp_path / "run")
    rounds = [
        {"stage": "input", "psnr": 14.5, "S": 0.9},
        {"stage": "5-tuning", "round": 1, "psnr": 15.25, "S": 0.5},
    ]
    (run / "rounds.json").write_text(json.dumps(rounds))
    page = written(tmp_path, run)
    assert page.row("5-tuning", "1") == [("15.25", 15.25), ("0.500", 0.5)]
    assert page.row("input", "\N{EN DASH}") == [("14.50", 14.5), ("0.900", 0.9)]


@pytest.mark.parametrize("kind", ["input", "result", "reference"])
def test_pictures_are_the_panels_of_the_samples(page: Page, kind: str) -> None:
    for place in range(3):
        found = np.asarray(page.picture(f"photo{place}: {kind}")).astype(float)
        expected = pictures(place)[kind][0].permute(1, 2, 0).numpy() * 255
        assert found.shape == (*SIZE, 3)
        assert np.abs(found - expected).mean() < 3  # panels differ by 30 and more


def test_each_photograph_has_a_labelled_slider_and_a_choice_of_panels(text: str, page: Page) -> None:
    sliders = [element for element in page.elements["input"] if element["type"] == "range"]
    assert len(sliders) == 3
    assert text.count("<option") == 3 * 2 * 3  # photographs, sides, panels
    # a control is labelled by the label around it
    assert text.count("<label") == 3 * 3
    for label in re.findall(r"<label.*?</label>", text, re.DOTALL):
        assert re.search(r'<span class="unseen">\w[\w ,]+</span><(select|input)', label)


def test_the_page_asks_nobody_for_anything(text: str, page: Page) -> None:
    sources = [
        value
        for elements in page.elements.values()
        for attributes in elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href")
    ]
    assert len(sources) == 9  # the pictures
    assert all(source is not None and source.startswith("data:") for source in sources)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|<link|<iframe", text)
    policy = next(m for m in page.elements["meta"] if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in (policy["content"] or "")


def test_what_a_run_says_is_text_and_no_markup(run_dir: Path, text: str, page: Page) -> None:
    assert len(page.elements["script"]) == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; " in text
    assert "".join(page.texts["code"]).count("<script>alert(1)</script>") == 1
    assert (run_dir / "config.yaml").read_text().strip() in page.texts["code"]


def test_names_of_photographs_and_runs_are_escaped(tmp_path: Path) -> None:
    run = written_run(tmp_path / "run", name='"><img src=x onerror=alert(1)>')
    write_png(run / "samples" / '"><b>bold.png', before_after(pictures(1)))
    page = written(tmp_path, run)
    assert page.texts["h1"] == ['"><img src=x onerror=alert(1)>']
    assert "b" not in page.elements
    assert page.picture('"><b>bold: result').size == SIZE[::-1]
    assert page.unbalanced == []


def test_the_page_is_well_formed_and_has_one_outline(text: str, page: Page) -> None:
    assert page.unbalanced == []
    assert page.elements["html"] == [{"lang": "en"}]
    assert page.texts["h2"] == ["Figures", "Photographs", "Training", "Configuration"]
    assert any(m.get("name") == "viewport" for m in page.elements["meta"])
    identifiers = re.findall(r'\bid="([^"]+)"', text)
    assert len(identifiers) == len(set(identifiers))
    assert set(re.findall(r'aria-labelledby="([^"]+)"', text)) <= set(identifiers)


def test_the_same_run_gives_the_same_page(run_dir: Path, text: str, tmp_path: Path) -> None:
    write_page([run_dir], tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == text


def noise(seed: int) -> dict[str, torch.Tensor]:
    """What compresses worst: twelve such photographs at full quality would give a page of 40 MB."""
    generator = torch.Generator().manual_seed(seed)
    return {k: torch.rand(1, 3, 700, 1100, generator=generator) for k in ("input", "result", "reference")}


def test_a_small_budget_lowers_quality_then_size(tmp_path: Path) -> None:
    (large,) = embed([(noise(0)["input"][0] * 255).byte()], 10_000_000)
    (small,) = embed([(noise(0)["input"][0] * 255).byte()], 100_000)
    assert len(small) < 4 / 3 * 100_000 + 30 < len(large)
    sides = [
        max(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size) for uri in (large, small)
    ]
    assert sides[0] == 1024 > sides[1]


@pytest.mark.slow
def test_twelve_noisy_photographs_stay_below_six_megabytes(tmp_path: Path) -> None:
    run = written_run(tmp_path / "run")
    shutil.rmtree(run / "samples")
    for place in range(12):
        write_png(run / "samples" / f"{place}.png", before_after(noise(place)))
    page = written(tmp_path, run)
    assert len(page.elements["img"]) == 36
    assert (tmp_path / "page.html").stat().st_size < 6_000_000


# --- what a run may lack ---


def test_without_references_two_panels_are_input_and_result(tmp_path: Path) -> None:
    run = written_run(tmp_path / "run")
    shutil.rmtree(run / "samples")
    shown = pictures(2)
    del shown["reference"]
    write_png(run / "samples" / "only.png", before_after(shown))
    page = written(tmp_path, run)
    assert [image["alt"] for image in page.elements["img"]] == ["only: input", "only: result"]


def test_a_run_of_stage_1_alone_has_references_and_no_result(tmp_path: Path) -> None:
    run = written_run(tmp_path / "run")
    (run / "metrics.json").write_text(json.dumps(figures(0) | {"result": {}, "by_label": {}}))
    shutil.rmtree(run / "samples")
    shown = pictures(2)
    del shown["result"]
    write_png(run / "samples" / "only.png", before_after(shown))
    page = written(tmp_path, run)
    assert [image["alt"] for image in page.elements["img"]] == ["only: input", "only: reference"]


def test_an_unfinished_run_says_so_and_shows_what_there_is(tmp_path: Path) -> None:
    run = written_run(tmp_path / "run")
    (run / "metrics.json").unlink()
    shutil.rmtree(run / "samples")
    state = json.loads((run / "state.json").read_text())
    (run / "state.json").write_text(json.dumps(state | {"finished": state["finished"][:1]}))
    page = written(tmp_path, run)
    lacks = " ".join(page.texts["li"])
    assert "1 of 2 stages are done" in lacks
    assert "no metrics.json" in lacks
    assert "no sample photographs" in lacks
    assert page.texts["h2"] == ["What is missing", "Training", "Configuration"]
    assert "polyline" in page.elements


def test_a_run_without_logs_has_no_curves(tmp_path: Path) -> None:
    run = written_run(tmp_path / "run")
    shutil.rmtree(run / "logs")
    page = written(tmp_path, run)
    assert "Training" not in page.texts["h2"]
    assert "logger=csv" in " ".join(page.texts["li"])


def test_pictures_that_are_no_grids_are_named(tmp_path: Path) -> None:
    run = written_run(tmp_path / "run")
    Image.new("RGB", (50, 30)).save(run / "samples" / "single.png")
    (run / "samples" / "broken.png").write_bytes((run / "samples" / "photo0.png").read_bytes()[:200])
    page = written(tmp_path, run)
    lacks = " ".join(page.texts["li"])
    assert f"{run}/samples/single.png: no panels" in lacks
    assert f"{run}/samples/broken.png: can't be read" in lacks
    assert len(page.elements["img"]) == 9


# --- figures of single photographs ---


def test_scores_of_photographs_are_drawn_where_they_are(tmp_path: Path, page: Page) -> None:
    assert "Photograph by photograph" not in page.texts["h2"]
    run = written_run(tmp_path / "run")
    scored = [
        Scored(
            n, f"p{n}", "under" if n < 4 else "over", {"input": {"psnr": 8.0}, "result": {"psnr": 10.0 + n}}
        )
        for n in range(8)
    ]
    equal = Scored(8, "p8", "over", {"result": {"psnr": float("inf")}})
    write_scores(run, [*scored, equal], RGB8)
    drawn = written(tmp_path, run)
    assert "Photograph by photograph" in drawn.texts["h2"]
    (said,) = [svg["aria-label"] or "" for svg in drawn.elements["svg"] if "single photographs" in str(svg)]
    # 10, 11, 12, 13, whose quartiles are 10.75 and 12.25; the infinite one is not drawn
    assert "under, result: 4 photographs, median 11.50, half of them from 10.75 to 12.25." in said
    assert "over, result: 4 photographs, median 15.50" in said
    assert "over, input: 4 photographs, median 8.00" in said


def test_scores_of_several_runs_are_those_of_their_results(tmp_path: Path) -> None:
    runs = [written_run(tmp_path / name) for name in ("one", "two")]
    for place, run in enumerate(runs):
        figures_of_one = {"input": {"psnr": 8.0, "S": 1.0}, "result": {"psnr": 10.0 + place, "S": 0.5}}
        write_scores(run, [Scored(0, "p0", "", figures_of_one)], RGB8)
    drawn = written(tmp_path, *runs)
    (said,) = [svg["aria-label"] or "" for svg in drawn.elements["svg"] if "single photographs" in str(svg)]
    assert "one: 1 photograph, median 10.00" in said
    assert "two: 1 photograph, median 11.00" in said
    assert "input" not in said


# --- several runs ---


def test_runs_are_compared_and_the_best_is_marked(tmp_path: Path) -> None:
    runs = [written_run(tmp_path / name, seed) for name, seed in (("low", 0), ("high", 3))]
    page = written(tmp_path, *runs)
    assert page.texts["h1"] == ["2 runs compared"]
    low, high = ([text for text, _ in page.row(name)] for name in ("low", "high"))
    # PSNR, SSIM, and those of label under; equal ones are all the best
    assert low == ["20.74", "0.818★best", "10.37", "0.409★best"]
    assert high == ["23.74★best", "0.818★best", "11.87★best", "0.409★best"]
    assert [text for text, _ in page.row("input")] == ["14.29", "0.721", "7.15", "0.361"]
    assert [text for text, _ in page.row("seed")] == ["0", "3"]  # a setting that differs


def test_a_photograph_of_several_runs_shows_all_their_results(tmp_path: Path) -> None:
    runs = [written_run(tmp_path / name, seed) for name, seed in (("low", 0), ("high", 3))]
    page = written(tmp_path, *runs)
    alts = [image["alt"] for image in page.elements["img"] if str(image["alt"]).startswith("photo1")]
    assert alts == [f"photo1: {label}" for label in ("input", "low", "high", "reference")]
    low, high = (np.asarray(page.picture(f"photo1: {name}")).astype(float) for name in ("low", "high"))
    assert (high - low).mean() == pytest.approx(255 * 0.03, abs=1.5)


def test_runs_on_other_photographs_are_not_compared(tmp_path: Path) -> None:
    runs = [written_run(tmp_path / name, seed) for name, seed in (("one", 0), ("two", 3))]
    metrics = figures(3)
    metrics["input"]["psnr"] = 12.0
    (runs[1] / "metrics.json").write_text(json.dumps(metrics))
    page = written(tmp_path, *runs)
    assert "★" not in "".join(text for row in page.rows for text, _ in row)
    assert page.row("two")[0] == ("23.74", 23.74127769470215)


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    runs = [written_run(tmp_path / folder, seed, name="same") for folder, seed in (("a", 0), ("b", 1))]
    page = written(tmp_path, *runs)
    assert [page.row(str(run))[0][0] for run in runs] == ["20.74", "21.74★best"]


def test_similarity_is_not_compared_from_run_to_run(tmp_path: Path) -> None:
    """Each run's S is by its own prompts: a lower one is no better result."""
    runs = [written_run(tmp_path / name, seed) for name, seed in (("one", 0), ("two", 3))]
    for run, score in zip(runs, (0.2, 0.9), strict=True):
        metrics = figures(0)
        metrics["input"]["S"], metrics["result"]["S"] = 1.0, score
        (run / "metrics.json").write_text(json.dumps(metrics))
    page = written(tmp_path, *runs)
    assert page.row("one")[2] == ("0.200", 0.2)
    assert page.row("two")[2] == ("0.900", 0.9)
    assert any("S is by each run's own prompts" in note for note in page.texts["p"])


# --- at the end of a run ---


def context(run_dir: Path, rank: int) -> RunContext:
    nothing = cast("Any", None)
    return RunContext({}, run_dir, {}, nothing, {}, nothing, torch.device("cpu"), 0, None, rank, 2)


def test_the_first_rank_alone_writes_the_page(tmp_path: Path) -> None:
    run = written_run(tmp_path / "run")
    write_report(context(run, 1))
    assert not (run / "report.html").exists()
    write_report(context(run, 0))
    assert Page((run / "report.html").read_text(encoding="utf-8")).texts["h1"] == ["run"]


def test_an_evaluation_of_other_weights_is_no_run_to_write_about(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(figures(0)))
    write_report(context(tmp_path, 0))
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


# --- the command ---


def test_each_run_gets_its_page_and_several_get_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [written_run(tmp_path / name) for name in ("a", "b")]
    assert main(["report", *map(str, runs)]) == 0
    assert capsys.readouterr().out.split() == [str(run / "report.html") for run in runs]
    assert Page((runs[1] / "report.html").read_text()).texts["h1"] == ["b"]
    assert main(["report", *map(str, runs), "-o", str(tmp_path / "both.html")]) == 0
    assert Page((tmp_path / "both.html").read_text()).texts["h1"] == ["2 runs compared"]


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("metrics.json", '{"protocol": ', "metrics.json: is damaged"),
        ("metrics.json", '{"result": {"psnr": 1}}', "metrics.json: names no protocol"),
        ("metrics.json", "[]", "metrics.json: names no protocol"),
        ("rounds.json", "{}", "rounds.json: expected a list of rows"),
        ("rounds.json", "[1", "rounds.json: is damaged"),
        ("state.json", "{", "state.json: cannot be read"),
        ("config.yaml", "a: [", "config.yaml: can't be read as YAML"),
        ("config.yaml", "a: 1", "config.yaml: names no plan"),
        ("scores.csv", "name,psnr\na,high\n", "scores.csv, line 2: psnr is 'high'"),
        ("config.yaml", "{plan: [], stage: {}}", "config.yaml: plan: no stage to train"),
        ("scores.csv", "name,psnr\na,1,2\n", "scores.csv, line 2: None is ['2']"),
        ("scores.csv", "photo,psnr\na,1\n", "scores.csv: has no column 'name'"),
    ],
)
def test_damaged_files_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, content: str, says: str
) -> None:
    run = written_run(tmp_path / "run")
    (run / file).write_text(content)
    assert main(["report", str(run)]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.out == ""
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere: is no run directory"),
        (["empty"], "empty: is no run directory"),
        (["run", "-o", "page.pdf"], "page.pdf: expected a name that ends in .html"),
        (["run", "-o", "empty.html"], "empty.html: Is a directory"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    written_run(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.html").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["report", *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1

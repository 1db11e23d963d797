"""The table of an ablation: means, spreads, order and failures from run directories, and a real sweep."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf
from warm_start import start

from relit.ablation_sweep import AblationTable
from relit.ablation_table import PaperRow, Run, as_text, tabulate
from relit.errors import ConfigurationError

PAPER = [PaperRow("worse", "bad", 14.748, 0.823), PaperRow("full method", "none", 21.579, 0.883)]


def run(value: Any, seed: int, psnr: float, ssim: float = 0.5) -> Run:
    return Run(value, seed, {"psnr": psnr, "ssim": ssim})


def lines_of(text: str) -> dict[str, list[str]]:
    """The cells of each line of the Markdown table, by its first."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line
    ]
    return {line[0]: line[1:] for line in cells}


# --- arithmetic ---


def test_mean_and_spread_over_seeds() -> None:
    runs = [
        run("bad", 0, 10.0, 0.2),
        run("bad", 1, 12.0, 0.4),
        run("bad", 2, 17.0, 0.9),
        run("none", 0, 20.0),
    ]
    worse, full = tabulate("T", "BAID", PAPER, runs)["rows"]
    assert worse["figures"]["psnr"]["mean"] == pytest.approx(13)
    assert worse["figures"]["psnr"]["spread"] == pytest.approx(math.sqrt((9 + 1 + 16) / 2))
    assert worse["figures"]["ssim"]["mean"] == pytest.approx(0.5)
    assert worse["seeds"] == [0, 1, 2]
    assert full["figures"]["psnr"] == {"mean": 20.0, "spread": None}
    cells = lines_of(as_text(tabulate("T", "BAID", PAPER, runs)))
    assert cells["worse"] == ["13.00 ± 3.61", "0.500 ± 0.361", "3", "14.748", "0.823"]
    assert cells["full method"] == ["20.00", "0.500", "1", "21.579", "0.883"]


def test_the_order_of_rows_is_compared_with_the_papers() -> None:
    paper = [PaperRow(name, name, psnr, 0.5) for name, psnr in (("a", 14.0), ("b", 20.0), ("c", 21.0))]

    def order(*psnr: float) -> tuple[int, int, list[str]]:
        runs = [run(name, 0, value) for name, value in zip("abc", psnr, strict=False)]
        found = tabulate("T", "BAID", paper, runs)["order"]
        return found["as_in_paper"], found["pairs"], found["best_first"]

    assert order(1, 2, 3) == (3, 3, ["c", "b", "a"])
    assert order(1, 3, 2) == (2, 3, ["b", "c", "a"])
    assert order(3, 2, 1) == (0, 3, ["a", "b", "c"])
    assert order(1, 2, 2)[:2] == (2, 3)  # a tie is not the paper's order
    assert order(1, 2)[:2] == (1, 1)
    assert order(1)[:2] == (0, 0)


@pytest.mark.parametrize(
    ("psnr", "sentence"),
    [
        ((10, 20), "Order of rows by PSNR: as in the paper."),
        ((20, 10), "not the paper's (0 of 1 pairs are). Best first: worse; full method."),
        ((20,), "Too few rows to compare their order"),
    ],
)
def test_the_verdict_is_said(psnr: tuple[float, ...], sentence: str) -> None:
    runs = [run(row.value, 0, value) for row, value in zip(PAPER, psnr, strict=False)]
    assert sentence in as_text(tabulate("T", "BAID", PAPER, runs))


def test_failed_runs_are_named_and_leave_the_others_as_they_are() -> None:
    runs = [
        Run("bad", 0, failure="no such folder"),
        run("none", 0, 20.0),
        Run("none", 1, failure="out of memory"),
        run("none", 2, 22.0),
    ]
    table = tabulate("T", "BAID", PAPER, runs)
    text = as_text(table)
    assert lines_of(text)["worse"] == ["failed", "failed", "0 of 1", "14.748", "0.823"]
    assert lines_of(text)["full method"] == ["21.00 ± 1.41", "0.500 ± 0.000", "2 of 3", "21.579", "0.883"]
    assert "Failed: worse, seed 0: no such folder" in text
    assert "Failed: full method, seed 1: out of memory" in text
    assert table["order"]["pairs"] == 0


def test_rows_that_have_not_run_and_rows_that_the_paper_does_not_have() -> None:
    text = as_text(tabulate("T", "BAID", PAPER, [run(["a", "b"], 0, 20.0)]))
    assert lines_of(text)["worse"] == ["not run", "not run", "0", "14.748", "0.823"]
    assert lines_of(text)["a + b"] == ["20.00", "0.500", "1", "-", "-"]


def test_without_references_there_is_s_and_the_remedy() -> None:
    text = as_text(tabulate("T", "BAID", PAPER, [Run("bad", 0, {"S": 0.25}), Run("none", 0, {})]))
    assert lines_of(text)["worse"][0] == "0.250"
    assert lines_of(text)["full method"][0] == "-"
    assert "data.test_reference=DIR" in text
    assert "Order of rows" not in text


def test_the_papers_figures_are_shown_with_the_decimals_they_were_printed_with() -> None:
    paper = [PaperRow("plain", "a", 24.10, 0.8711), PaperRow("full", "b", 24.95, 0.886)]
    cells = lines_of(as_text(tabulate("T", "LCDP", paper, [run("c", 0, 20.0)])))
    assert cells["plain"][-2:] == ["24.10", "0.8711"]
    assert cells["full"][-2:] == ["24.95", "0.8860"]
    assert cells["c"][-2:] == ["-", "-"]


@pytest.mark.parametrize("data", ["BAID", "LCDP"])
def test_the_note_names_the_data_of_the_papers_figures(data: str) -> None:
    assert f"The paper's figures: {data}'s test set," in as_text(tabulate("T", data, PAPER, []))


def test_settings_that_only_some_runs_have_are_noted() -> None:
    settings = [{"steps": 9}, {"clip": "a", "steps": 9}, {"clip": "b", "steps": 9}]
    runs = [Run("bad", seed, {}, setting) for seed, setting in enumerate(settings)]
    table = tabulate("T", "LCDP", PAPER, runs)
    assert table["setting"] == {"steps": [9], "clip": ["a", "b"]}
    assert "steps=9, clip=a or b" in as_text(table)


def test_columns_are_aligned() -> None:
    text = as_text(
        tabulate("T", "BAID", PAPER, [run("bad", 0, 9.5), run("bad", 1, 10.5), run("a longer name", 0, 1.0)])
    )
    table = [line for line in text.splitlines() if line.startswith("|")]
    bars = {tuple(place for place, sign in enumerate(line) if sign == "|") for line in table}
    assert len(table) == 5
    assert len(bars) == 1


# --- from run directories ---


def job(folder: Path, value: str, seed: int, result: dict[str, float] | BaseException | None) -> Any:
    """What Hydra tells a callback of a run that left ``result`` in its metrics.json, or raised it."""
    run_dir = folder / f"{value}-seed{seed}"
    run_dir.mkdir()
    config = OmegaConf.create(
        {
            "seed": seed,
            "run_dir": str(run_dir),
            "hydra": {
                "sweep": {"dir": str(folder)},
                "runtime": {"choices": {"ablation": value, "data": "sample", "clip": "tiny", "budget": None}},
            },
        }
    )
    failed = isinstance(result, BaseException)
    if isinstance(result, dict):
        metrics = {
            "protocol": {"name": "rgb8", "test_size": None},
            "images": 12,
            "data": "test",
            "steps": 70,
            "result": result,
        }
        (run_dir / "metrics.json").write_text(json.dumps(metrics))
    returned = JobReturn(status=JobStatus.FAILED if failed else JobStatus.COMPLETED)
    returned.return_value = result if failed else None
    return config, returned


def swept(folder: Path, *jobs: Any) -> tuple[AblationTable, DictConfig]:
    rows = {
        "bad": {"label": "worse", "psnr": 14.748, "ssim": 0.823},
        "full": {"label": "full method", "value": "none", "psnr": 21.579, "ssim": 0.883},
    }
    callback = AblationTable("T", "ablation", "LCDP", rows)
    for config, returned in jobs:
        callback.on_job_end(config, returned)
        assert returned.return_value is None  # Hydra goes on
    return callback, OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})


def test_figures_come_from_the_run_directories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    callback, config = swept(
        tmp_path,
        job(tmp_path, "bad", 0, {"psnr": 14.0, "ssim": 0.25, "S": 0.1, "more": 1.0}),
        job(tmp_path, "bad", 1, {"psnr": 16.0, "ssim": 0.75, "S": 0.1}),
        job(tmp_path, "none", 0, {"psnr": 20.0, "ssim": 0.5, "S": 0.1}),
    )
    callback.on_multirun_end(config)
    said = capsys.readouterr().out
    text = (tmp_path / "table.md").read_text()
    assert text in said
    assert str(tmp_path / "table.md") in said
    assert lines_of(text)["worse"] == ["15.00 ± 1.41", "0.500 ± 0.354", "2", "14.748", "0.823"]
    assert "protocol=rgb8, photographs=12 (test), data=sample, clip=tiny, steps=70, seeds 0 1." in text
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["rows"][0]["paper"] == {"psnr": 14.748, "ssim": 0.823}
    assert table["rows"][1]["figures"]["psnr"]["mean"] == 20.0
    assert table["order"]["as_in_paper"] == table["order"]["pairs"] == 1


def test_the_table_grows_with_every_run(tmp_path: Path) -> None:
    swept(tmp_path, job(tmp_path, "bad", 0, {"psnr": 14.0, "ssim": 0.25}))
    assert lines_of((tmp_path / "table.md").read_text())["full method"][0] == "not run"


def test_a_mistake_in_one_row_is_shown_and_gives_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    callback, config = swept(
        tmp_path,
        job(tmp_path, "bad", 0, ConfigurationError("clip.phrases:\n  unknown word")),
        job(tmp_path, "none", 0, {"psnr": 20.0, "ssim": 0.5}),
    )
    with pytest.raises(SystemExit) as ended:
        callback.on_multirun_end(config)
    assert ended.value.code == 2
    said = capsys.readouterr().out
    assert "Failed: worse, seed 0: clip.phrases: unknown word" in said
    assert lines_of(said)["full method"][0] == "20.00"
    assert not list(tmp_path.rglob("traceback.txt"))


def test_any_other_failure_keeps_its_traceback_and_gives_status_1(tmp_path: Path) -> None:
    try:
        raise RuntimeError("a loss is not finite")
    except RuntimeError as error:
        failure = error
    callback, config = swept(
        tmp_path, job(tmp_path, "bad", 0, failure), job(tmp_path, "none", 0, ConfigurationError("x"))
    )
    with pytest.raises(SystemExit) as ended:
        callback.on_multirun_end(config)
    assert ended.value.code == 1
    assert "RuntimeError: a loss is not finite" in (tmp_path / "table.md").read_text()
    kept = (tmp_path / "bad-seed0" / "traceback.txt").read_text()
    assert kept.startswith("Traceback")
    assert "test_any_other_failure" in kept


def test_a_run_without_figures_is_a_failed_one(tmp_path: Path) -> None:
    callback, _ = swept(tmp_path, job(tmp_path, "bad", 0, None))
    assert callback.status == 1
    assert "metrics.json" in (tmp_path / "table.md").read_text()


# --- for real ---


@pytest.mark.slow
def test_table_3_on_the_sample_data(tmp_path: Path) -> None:
    """Two steps a stage, two rounds so that Eq. (8) takes part; then again, with nothing left to train."""
    stages = ("prompt_initialisation", "self_reconstruction", "enhancement", "prompt_refinement", "tuning")
    command = [
        "experiment=ablation/table3", "clip=tiny", "data=sample", "budget=laptop", "trainer=cpu", "threads=1",
        "logger=none", "progress=false",
        "data.size=32", "data.crops=4", "data.procedural=4", "data.test_size=64",
        *(f"stage.{name}.steps=2" for name in stages),
    ]  # fmt: skip
    first = start(command, tmp_path).wait()
    assert first.status == 0, first.said
    assert "Traceback" not in first.said
    folder = tmp_path / "runs" / "table3"
    text = (folder / "table.md").read_text()
    assert text in first.said
    rows = ["fixed_prompts", "no_ranking", "no_previous", "none"]
    for label, row in zip(list(lines_of(text))[2:], rows, strict=True):
        metrics = json.loads((folder / f"{row}-seed0" / "metrics.json").read_text())
        assert lines_of(text)[label][:3] == [
            f"{metrics['result']['psnr']:.2f}", f"{metrics['result']['ssim']:.3f}", "1"
        ]  # fmt: skip
    assert "protocol=rgb8" in text
    trained = {path: path.stat().st_mtime_ns for path in folder.rglob("stages/*/weights.safetensors")}
    again = start(command, tmp_path).wait()
    assert again.status == 0, again.said
    assert (folder / "table.md").read_text() == text
    assert trained == {path: path.stat().st_mtime_ns for path in folder.rglob("stages/*/weights.safetensors")}
    assert len(trained) == 4 + 5 + 7 + 7

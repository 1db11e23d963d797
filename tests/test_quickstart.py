"""The quickstart as people run it, small: what it leaves behind, killed and continued, and wrong inputs."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from parsed_page import Page
from PIL import Image
from two_processes import all_weights, train_doubled, train_in_two_processes
from warm_start import Finished, start

from relit.report.page import write_page
from relit.run_state import read_state
from relit.weights import read_weights

ROOT = Path(__file__).resolve().parents[1]
STAGES = [
    "1-prompt_initialisation",
    "2-self_reconstruction",
    "3-enhancement",
    "4-prompt_refinement",
    "5-tuning",
    "6-prompt_refinement",
    "7-tuning",
]
# Batches of 3 from 8 photographs: every checkpoint lies in the middle of an epoch.
SMALL = [
    "data.size=32",
    "trainer=cpu",
    "threads=1",
    "checkpoint_every=4",
    "progress=false",
    "stage.prompt_initialisation.module.views=2",
    "stage.prompt_initialisation.steps=60",
    "stage.self_reconstruction.steps=2",
    "stage.enhancement.steps=24",
    "stage.prompt_refinement.steps=6",
    "stage.tuning.steps=3",
    *(f"stage.{name}.data.batch_size=3" for name in ("prompt_initialisation", "self_reconstruction")),
    *(f"stage.{name}.data.batch_size=3" for name in ("enhancement", "prompt_refinement", "tuning")),
]
QUICKSTART = ["experiment=quickstart", "data.crops=4", "data.procedural=4", "data.test_size=64", *SMALL]


def train(*arguments: str, cwd: Path, environment: dict[str, str] | None = None) -> Finished:
    return start(arguments, cwd, environment).wait()


def complaint(result: Finished) -> str:
    """The one message of a run that ended with a mistake in its configuration."""
    assert result.status == 2, result.said
    assert "Traceback" not in result.said
    assert result.said.count("train.py: configuration error") == 1
    assert "Error executing job" not in result.said
    return result.said


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An uninterrupted quickstart in a process started from nothing: its run directory and what it said."""
    cwd = tmp_path_factory.mktemp("whole")
    result = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *QUICKSTART],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert result.returncode == 0, result.stdout
    return cwd / "runs" / "quickstart", result.stdout


# --- what a run leaves behind ---


def test_run_directory(whole: tuple[Path, str]) -> None:
    run_dir, _ = whole
    assert {path.name for path in run_dir.iterdir()} == {
        "config.yaml", "metrics.json", "scores.csv", "rounds.json", "weights.safetensors", "samples",
        "state.json", "stages", "logs", "report.html", "provenance.json", "run.lock",
    }  # fmt: skip
    assert sorted(path.name for path in (run_dir / "stages").iterdir()) == STAGES
    for stage in (run_dir / "stages").iterdir():
        assert [path.name for path in stage.iterdir()] == ["weights.safetensors"]
    assert [f"{s.index}-{s.name}" for s in read_state(run_dir).finished] == STAGES
    assert "${" not in (run_dir / "config.yaml").read_text()


def test_weight_file_says_how_it_was_made(whole: tuple[Path, str]) -> None:
    run_dir, _ = whole
    weights, metadata = read_weights(run_dir / "weights.safetensors")
    assert weights.keys() == {"enhancer", "prompts"}
    assert metadata["network"]["_target_"] == "relit.clip_lit.network.ResidualPPM"
    assert metadata["clip"]["prompts"]["source"] == "embedded"
    assert metadata["steps"] == 60 + 2 + 24 + 2 * (6 + 3)
    last = read_weights(run_dir / "stages" / STAGES[-1] / "weights.safetensors")[0]
    for group, tensors in weights.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, last[group][name])


def test_metrics_and_table_tell_input_from_result(whole: tuple[Path, str]) -> None:
    run_dir, said = whole
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["protocol"]["name"] == "rgb8"
    assert metrics["images"] == 12  # three scenes in four exposures
    table = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.strip()}
    for row in ("input", "result"):
        assert table[row][:2] == [f"{metrics[row]['psnr']:.2f}", f"{metrics[row]['ssim']:.3f}"]
        assert 0 < metrics[row]["psnr"] < 60
    assert "PSNR (dB)" in said
    assert "12 photographs (test), protocol rgb8, seed 0" in said


def test_samples_show_before_after_and_reference(whole: tuple[Path, str]) -> None:
    run_dir, _ = whole
    pictures = sorted((run_dir / "samples").iterdir())
    assert len(pictures) == 12  # every test photograph
    with Image.open(pictures[0]) as picture:
        assert picture.width > 3 * 60


def test_the_page_that_the_run_ends_with_is_what_the_command_writes(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    run_dir, _ = whole
    page = Page((run_dir / "report.html").read_text(encoding="utf-8"))
    metrics = json.loads((run_dir / "metrics.json").read_text())
    for kind in ("input", "result"):
        # the first table; rounds begin with an input, too
        row = next(row for row in page.rows if row[0][0] == kind)
        assert [value for _, value in row[1:]] == [metrics[kind][name] for name in ("psnr", "ssim", "S")]
    for row in json.loads((run_dir / "rounds.json").read_text())[1:]:
        found = page.row(row["stage"].replace("_", " "))
        assert [value for _, value in found[1:]] == [row[name] for name in ("psnr", "ssim", "S")]
    assert len(page.elements["img"]) == 3 * 12
    # the others are too short here to have logged anything
    assert page.texts["h3"] == ["prompt initialisation", "enhancement"]
    assert "What is missing" not in page.texts["h2"]
    write_page([run_dir], tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (run_dir / "report.html").read_bytes()


def test_nothing_but_what_concerns_the_user_is_said(whole: tuple[Path, str]) -> None:
    _, said = whole
    assert "Warning" not in said
    assert len(said.splitlines()) < 20


def test_one_step_axis_over_all_stages(whole: tuple[Path, str]) -> None:
    run_dir, _ = whole
    with (run_dir / "logs" / "version_0" / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == sorted(steps)
    assert steps[-1] == 60 + 2 + 24 + 2 * (6 + 3)


# --- killed and continued ---


def checkpointed(run_dir: Path, stage: str) -> Callable[[], bool]:
    checkpoint = run_dir / "stages" / stage / "checkpoints" / "last.ckpt"
    return checkpoint.exists


def killed_in(stage: str, cwd: Path, steps: int) -> None:
    """Start the quickstart in ``cwd`` and kill it in ``stage``, after a checkpoint and before its end."""
    run_dir = cwd / "runs" / "quickstart"
    assert start(QUICKSTART, cwd).kill_when(checkpointed(run_dir, stage)).status == -9
    folder = run_dir / "stages" / stage
    assert not (folder / "weights.safetensors").exists()
    step = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert 0 < step < steps
    assert step * 3 % 8 != 0  # in the middle of an epoch of 8 photographs


@pytest.mark.slow
def test_killed_twice_the_same_command_ends_with_the_same_bits(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    killed_in(STAGES[0], tmp_path, steps=60)
    killed_in(STAGES[2], tmp_path, steps=24)
    result = train(*QUICKSTART, cwd=tmp_path)
    assert result.status == 0, result.said
    assert "2 of 7 stages are done" in result.said
    resumed, expected = all_weights(tmp_path / "runs" / "quickstart"), all_weights(whole[0])
    assert resumed.keys() == expected.keys()
    assert len({name.split(":")[0] for name in expected}) == 8
    assert [name for name, tensor in expected.items() if not torch.equal(tensor, resumed[name])] == []
    for name in ("metrics.json", "config.yaml"):
        texts = [(path / name).read_text() for path in (whole[0], tmp_path / "runs" / "quickstart")]
        assert texts[0].replace(str(whole[0].parents[1]), "") == texts[1].replace(str(tmp_path), "")


@pytest.mark.slow
@pytest.mark.parametrize("stage", [STAGES[3], STAGES[4]])
def test_killed_in_a_round(whole: tuple[Path, str], tmp_path: Path, stage: str) -> None:
    run_dir = tmp_path / "runs" / "quickstart"
    command = [*QUICKSTART, "checkpoint_every=1"]
    start(command, tmp_path).kill_when(checkpointed(run_dir, stage))
    assert not (run_dir / "stages" / stage / "weights.safetensors").exists()
    assert train(*command, cwd=tmp_path).status == 0
    resumed, expected = all_weights(run_dir), all_weights(whole[0])
    assert [name for name, tensor in expected.items() if not torch.equal(tensor, resumed[name])] == []


@pytest.mark.slow
def test_a_full_disk_is_named_and_the_same_command_continues(whole: tuple[Path, str], tmp_path: Path) -> None:
    # enough for prompts, too little for a network's checkpoint
    result = start([*QUICKSTART, "logger=none"], tmp_path, file_size=400_000).wait()
    assert result.status == 1, result.said
    assert "Traceback" not in result.said
    message = result.said[result.said.index("train.py:") :]
    assert "the disk is full" in message
    assert "runs/quickstart/stages/" in message
    assert "free space, then run the same command to continue" in message
    assert train(*QUICKSTART, "logger=none", cwd=tmp_path).status == 0
    resumed, expected = all_weights(tmp_path / "runs" / "quickstart"), all_weights(whole[0])
    assert [name for name, tensor in expected.items() if not torch.equal(tensor, resumed[name])] == []


# --- two processes ---


IN_TWO = [
    *QUICKSTART,
    # Sums in another order differ in the last bit. Adam's eps keeps it from making whole steps of that
    # where the gradient is next to nothing.
    *(f"+stage.{name}.module.optimizer.eps=1e-4" for name in ("enhancement", "tuning")),
    *(f"stage.{stage[2:]}.data.batch_size=2" for stage in STAGES[:5]),
]


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_doubled_batch(tmp_path: Path) -> None:
    train_in_two_processes(tmp_path, *IN_TWO)
    train_doubled(tmp_path, IN_TWO)
    expected, found = (all_weights(tmp_path / "runs" / name) for name in ("one", "two"))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name], tensor, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
    figures = [json.loads((tmp_path / "runs" / name / "metrics.json").read_text()) for name in ("one", "two")]
    assert figures[1]["images"] == figures[0]["images"] == 12
    assert figures[1]["result"]["psnr"] == pytest.approx(figures[0]["result"]["psnr"], abs=0.01)


def validations(run_dir: Path, name: str) -> list[float]:
    """The logged values of a validation metric, in their order."""
    with (run_dir / "logs" / "version_0" / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row[name]]


@pytest.mark.slow
def test_two_processes_validate_average_and_choose_the_best_as_one_does(tmp_path: Path) -> None:
    overrides = [
        *IN_TWO,
        *("data.held_out=3", "validate_every=1", "ema={decay: 0.5}"),
        "stage.tuning.best={monitor: val/S, mode: min}",
    ]
    train_in_two_processes(tmp_path, *overrides)
    train_doubled(tmp_path, overrides)
    one, two = (tmp_path / "runs" / name for name in ("one", "two"))
    for name in ("val/S", "val/S_input", "val/S_well_lit", "val/accuracy"):
        expected = validations(one, name)
        assert expected
        assert validations(two, name) == pytest.approx(expected, rel=1e-3), name


# --- your own photographs ---


def photograph(seed: int, brightness: float, size: tuple[int, int] = (40, 56)) -> np.ndarray:
    """Smooth blobs, uint8 (H, W, 3)."""
    noise = np.random.default_rng(seed).random((5, 7, 3))
    blobs = Image.fromarray((noise * 255 * brightness).astype(np.uint8))
    return np.asarray(blobs.resize((size[1], size[0]), Image.Resampling.BICUBIC))


def folder_of(path: Path, count: int, brightness: float) -> Path:
    path.mkdir()
    for i in range(count):
        Image.fromarray(photograph(i, brightness)).save(path / f"photo{i}.png")
    return path


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Folders ``dark`` and ``light`` of four photographs each."""
    folder_of(tmp_path / "dark", 4, 0.3)
    folder_of(tmp_path / "light", 4, 1.0)
    return tmp_path


OWN = [
    "experiment=clip_lit",
    "clip=tiny",
    "budget=laptop",
    "data=folders",
    "data.backlit=dark",
    "data.well_lit=light",
    "logger=none",
    "rounds=1",
    *SMALL,
    "stage.prompt_initialisation.steps=2",
    "stage.enhancement.steps=2",
    "stage.prompt_refinement.steps=2",
    "stage.tuning.steps=2",
]


def test_photographs_of_all_kinds_train_without_a_test_set(folders: Path) -> None:
    """Greyscale, RGBA, 16 bits, palette and a truncated one among them: one warning, then a result."""
    dark = folders / "dark"
    Image.fromarray(photograph(10, 0.3)[..., 0]).save(dark / "grey.png")
    Image.fromarray(photograph(11, 0.3).astype(np.uint16)[..., 0] * 257).save(dark / "grey16.png")
    Image.fromarray(photograph(12, 0.3)).convert("RGBA").save(dark / "alpha.png")
    Image.fromarray(photograph(13, 0.3)).quantize(16).save(dark / "palette.png")
    Image.fromarray(photograph(14, 0.3)).save(dark / "broken.jpg")
    (dark / "broken.jpg").write_bytes((dark / "broken.jpg").read_bytes()[:300])
    (dark / "notes.txt").write_text("no photograph")
    result = train(*OWN, cwd=folders)
    assert result.status == 0, result.said
    assert "Traceback" not in result.said
    # read once for prompts and once for the network, said once
    assert result.said.count("1 of 9 photographs cannot be read: broken.jpg") == 1
    assert "\nwarning: data.backlit: 1 of 9" in "\n" + result.said  # no line of source
    run_dir = folders / "runs" / "clip_lit"
    assert len(list((run_dir / "samples").iterdir())) == 8
    with Image.open(run_dir / "samples" / "photo0.png") as grid:
        assert 2 * 30 < grid.width < 3 * 32  # before | after
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert "psnr" not in metrics["result"]
    assert "PSNR" not in result.said
    assert "no references" in result.said


def test_strict_refuses_a_truncated_photograph_and_a_mended_folder_goes_on(folders: Path) -> None:
    broken = folders / "dark" / "photo0.png"
    broken.write_bytes(broken.read_bytes()[:400])
    said = complaint(train(*OWN, "data.strict=true", cwd=folders))
    assert "data.backlit: 1 of 4 photographs cannot be read: photo0.png" in said
    assert "data.strict=false" in said
    broken.unlink()
    # the refusal left no run that another setting could contradict
    result = train(*OWN, cwd=folders)
    assert result.status == 0, result.said


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["data.backlit=drak"], ["data.backlit", "drak does not exist", "data.backlit=DIR"]),
        (["data.well_lit=empty"], ["data.well_lit", "no photographs in empty", "data.well_lit=DIR"]),
        (["data.test_input=none"], ["data.test_input", "none does not exist"]),
        (["data.test_reference=light"], ["data.test_input=DIR"]),
        (
            ["data.test_input=dark", "data.test_reference=other"],
            ["data.test_input and data.test_reference", "no input has the name"],
        ),
    ],
)
def test_wrong_folders_are_named(folders: Path, overrides: list[str], expected: list[str]) -> None:
    (folders / "empty").mkdir()
    (folders / "other").mkdir()
    Image.fromarray(photograph(0, 1.0)).save(folders / "other" / "other.png")
    said = complaint(train(*OWN, *overrides, cwd=folders))
    for part in expected:
        assert part in said
    # a corrected path is no change of settings
    assert not list((folders / "runs").rglob("*.ckpt"))


def test_a_folder_that_was_not_named(tmp_path: Path) -> None:
    overrides = ["experiment=clip_lit", "clip=tiny", "data=folders", "data.well_lit=light"]
    said = complaint(train(*overrides, cwd=tmp_path))
    assert "data.backlit" in said
    assert "data.backlit: not set. Set it: data.backlit=" in said


def test_folders_of_one_photograph_and_test_inputs_without_references(tmp_path: Path) -> None:
    folder_of(tmp_path / "dark", 1, 0.3)
    folder_of(tmp_path / "light", 1, 1.0)
    folder_of(tmp_path / "test", 2, 0.3)
    result = train(*OWN, "data.test_input=test", cwd=tmp_path)
    assert result.status == 0, result.said
    for key in ("data.backlit", "data.well_lit"):
        assert result.said.count(f"{key}: ") == 1
    assert "gives one photograph only" in result.said
    metrics = json.loads((tmp_path / "runs" / "clip_lit" / "metrics.json").read_text())
    assert metrics["images"] == 2
    assert "psnr" not in metrics["result"]
    with Image.open(tmp_path / "runs" / "clip_lit" / "samples" / "photo1.png") as grid:
        assert grid.width < 3 * 56


# --- other mistakes ---


def test_weights_out_of_reach(folders: Path) -> None:
    unreachable = "http://127.0.0.1:9"
    environment = {"HF_HOME": str(folders / "hub"), "HTTPS_PROXY": unreachable, "HTTP_PROXY": unreachable}
    said = complaint(train(*OWN, "clip=openai", cwd=folders, environment=environment))
    assert "could not fetch ViT-B-32 'openai' from https://huggingface.co/" in said
    assert "clip.prompts.pretrained" in said
    assert "clip=tiny" in said
    assert "Retrying" not in said


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.crop=4", "data.crop: no such key. Did you mean crops"),
        ("stage.enhancment.steps=3", "stage.enhancment: no such key. Did you mean enhancement"),
        ("stage.enhancement.step=3", "stage.enhancement.step: no such key. Did you mean steps"),
        ("clip=tinny", "tiny"),
        ("stage.enhancement.steps=many", "stage.enhancement.steps: expected a whole number"),
        ("+stage.enhancement.module.identity_wieght=1", "Did you mean identity_weight"),
    ],
)
def test_mistyped_overrides(tmp_path: Path, override: str, expected: str) -> None:
    assert expected in complaint(train("experiment=quickstart", override, cwd=tmp_path))
    assert not list(tmp_path.glob("runs/*/*"))


def test_a_python_without_the_packages_is_told_which_to_use(tmp_path: Path) -> None:
    result = subprocess.run(
        # -I -S: no site-packages, whatever is installed
        [sys.executable, "-I", "-S", str(ROOT / "train.py"), "experiment=quickstart"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert sys.executable in result.stderr
    assert "make quickstart" in result.stderr
    assert ".venv/bin/python train.py" in result.stderr

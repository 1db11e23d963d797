"""``train.py`` as people call it: exit status, one message for a mistake, light start, killed and resumed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_regression import toy_config
from warm_start import Finished, start

from relit.run_state import read_state
from relit.stages import run_stages
from relit.weights import read_weights

ROOT = Path(__file__).resolve().parents[1]
TOYS = ROOT / "tests" / "toys"
CONF_DIR = f"--config-dir={TOYS / 'conf'}"


def train(*arguments: str, cwd: Path, check: int | None = None, file_size: int | None = None) -> Finished:
    """Call train.py with the toy experiments on its search path."""
    result = start([CONF_DIR, *arguments], cwd, file_size=file_size).wait(120)
    if check is not None:
        assert result.status == check, result.said
    return result


def train_cold(
    *arguments: str, cwd: Path, check: int, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The same in a Python that has imported nothing yet."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), CONF_DIR, *arguments],
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(TOYS)]),
            "OMP_NUM_THREADS": "1",
            **environment,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == check, result.stdout + result.stderr
    return result


def weights_of(run_dir: Path) -> dict[str, torch.Tensor]:
    groups, _ = read_weights(run_dir / "stages" / "3-second" / "weights.safetensors")
    return {
        f"{group}/{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """What the toy experiment learns when nothing stops it."""
    run_dir = tmp_path_factory.mktemp("entry") / "toy"
    run_stages(toy_config(run_dir))
    return weights_of(run_dir)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # found while composing
        (["experiment=toy", "sead=1"], ["sead"]),
        (["experiment=toy", "data.batchsize=1"], ["data.batchsize"]),
        (["experiment=toi"], ["toi", "toy"]),
        (["experiment=toy", "logger=csvv"], ["csvv", "wandb"]),
        (["experiment=toy", "seed=[1"], ["seed=[1"]),
        (["experiment=toy", "logger=null"], ["Config group override"]),
        (["-m", "experiment=toy", "seed=range(0,1,0)"], ["must not be zero"]),
        # found by relit.checks; tests/test_checks.py has the others
        (
            ["experiment=toy", "+typo=1", "data._target_=toy_regresion.ToyPoints"],
            ["typo: no such", "data._target_"],
        ),
        (["-m", "experiment=toy", "seed=0,1", "trainer.devices=2"], ["wandb agent"]),
        (["data=toy", "clip=none"], ["experiment=quickstart"]),
    ],
)
def test_mistakes_give_one_message_and_status_2(
    tmp_path: Path, arguments: list[str], expected: list[str]
) -> None:
    said = train(*arguments, cwd=tmp_path, check=2).said
    assert "Traceback" not in said
    assert said.count("configuration error") == 1
    assert "Error executing job" not in said
    for part in expected:
        assert part in said
    left = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert [path.name for path in left] in ([], ["multirun.yaml"])


def test_a_network_that_can_not_be_built_is_told_before_the_first_stage(tmp_path: Path) -> None:
    said = train("experiment=quickstart", "network.illumination_scale=0", cwd=tmp_path, check=2).said
    assert "network.illumination_scale=0: expected a whole number from 1" in said
    assert not list(tmp_path.glob("runs/*/stages"))


def test_missing_photographs_are_told_before_a_clip_is_fetched(tmp_path: Path) -> None:
    clip = f"clip.prior.pretrained={tmp_path / 'no_clip.pt'}"
    said = train("experiment=clip_restorex_lcdp", "data.root=nowhere", clip, cwd=tmp_path, check=2).said
    assert "data.root: nowhere does not exist" in said
    assert "no_clip" not in said


@pytest.mark.parametrize(
    ("interrupt", "mode"),
    [("RuntimeError", []), pytest.param("ValueError", ["-m"], marks=pytest.mark.slow)],
)
def test_other_failures_keep_their_traceback_and_status_1(
    tmp_path: Path, interrupt: str, mode: list[str]
) -> None:
    module = "stage.first.module"
    result = train(
        *mode,
        "experiment=toy",
        f"{module}.interrupt={interrupt}",
        f"{module}.interrupt_at=3",
        cwd=tmp_path,
        check=1,
    )
    assert "Traceback" in result.said
    assert interrupt in result.said
    assert "configuration error" not in result.said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="file size limits are POSIX")
def test_full_disk_gives_one_message_and_the_run_goes_on_later(
    tmp_path: Path, whole: dict[str, torch.Tensor]
) -> None:
    command = ["experiment=toy", "logger=none"]
    said = train(*command, cwd=tmp_path, check=1, file_size=4096).said
    assert "Traceback" not in said
    assert "last.ckpt" in said
    assert "free space" in said
    train(*command, cwd=tmp_path, check=0)
    for name, tensor in weights_of(tmp_path / "runs" / "toy").items():
        assert torch.equal(tensor, whole[name]), name


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that even root can't write to")
def test_a_folder_that_can_not_be_written_gives_one_message(tmp_path: Path) -> None:
    said = train("experiment=toy", "runs=/sys/relit", cwd=tmp_path, check=1).said
    assert "Traceback" not in said
    assert "train.py: /sys/relit" in said


@pytest.mark.parametrize(
    ("interrupt", "status"),
    [
        ("SIGKILL", -9),
        pytest.param("KeyboardInterrupt", 130, marks=pytest.mark.slow),
        pytest.param("SIGTERM", 143, marks=pytest.mark.slow),
    ],
)
def test_stopped_process_goes_on_to_the_same_bits(
    tmp_path: Path, whole: dict[str, torch.Tensor], interrupt: str, status: int
) -> None:
    module = "stage.first.module"
    command = ["experiment=toy", f"{module}.interrupt={interrupt}", f"{module}.interrupt_at=8"]
    train(*command, cwd=tmp_path, check=status)
    run_dir = tmp_path / "runs" / "toy"
    assert [stage.name for stage in read_state(run_dir).finished] == ["first"]
    assert (run_dir / "stages" / "2-second" / "checkpoints" / "last.ckpt").exists()
    train(*command, cwd=tmp_path, check=0)
    resumed = weights_of(run_dir)
    assert resumed.keys() == whole.keys()
    for name, tensor in resumed.items():
        assert torch.equal(tensor, whole[name]), name


def test_sweep_trains_each_job_in_its_own_directory_and_returns_the_metric(tmp_path: Path) -> None:
    result = train(
        "-m", "experiment=toy", "seed=0,1", "rounds=0", "monitor=toy/distanc", cwd=tmp_path, check=2
    )
    assert "Measured: toy/distance" in result.said
    train("-m", "experiment=toy", "seed=0,1", "rounds=0", "monitor=toy/distance", cwd=tmp_path, check=0)
    for job in ("0", "1"):
        assert read_state(tmp_path / "runs" / "toy" / job).settings["seed"] == int(job)


def test_showing_the_configuration_loads_no_heavy_package(tmp_path: Path) -> None:
    result = train_cold("experiment=toy", "--cfg", "job", cwd=tmp_path, check=0, PYTHONPROFILEIMPORTTIME="1")
    assert "plan:" in result.stdout
    imported = {
        line.rpartition("|")[2].strip()
        for line in result.stderr.splitlines()
        if line.startswith("import time")
    }
    assert "hydra" in imported
    assert not imported & {"torch", "lightning", "numpy", "torchvision", "wandb", "PIL"}


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_the_doubled_batch(tmp_path: Path) -> None:
    """At twice the rate, which the second run gets by its number of processes."""
    rate, half = "stage.first.module.lr=0.04", "stage.first.module.lr=0.02"
    train_cold("experiment=toy", "name=one", "data.batch_size=8", rate, cwd=tmp_path, check=0)
    two_processes = ("trainer.devices=2", "trainer.strategy=ddp", "scale_lr=linear", half)
    result = train_cold("experiment=toy", "name=two", *two_processes, cwd=tmp_path, check=0)
    told = "first: 2 processes x batch_size 4 = 8 photographs or pairs a step; learning rates x 2"
    assert (result.stdout + result.stderr).count(told) == 1
    one, two = weights_of(tmp_path / "runs" / "one"), weights_of(tmp_path / "runs" / "two")
    for name, tensor in two.items():
        torch.testing.assert_close(tensor, one[name], rtol=1e-5, atol=1e-6)

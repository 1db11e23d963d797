"""A run goes on from its newest whole checkpoint, and says so when that is not the last one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toy_regression import toy_config

from relit.checkpoints import AtomicCheckpointIO, is_whole, newest_checkpoint
from relit.stages import run_stages
from relit.weights import Weights, read_weights


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeroed(path: Path) -> None:
    """As a file system leaves a block that it had not written when the power went."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    assert any(content[middle : middle + 64])
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def written(folder: Path, *steps: int) -> None:
    for step in steps:
        tensors = {"step": step, "weight": torch.arange(step, step + 1000)}
        writer = AtomicCheckpointIO()
        writer.save_checkpoint(tensors, folder / "last.ckpt")
        writer.raise_failure()


def step_of(path: Path | None) -> int:
    return int(AtomicCheckpointIO().load_checkpoint(path)["step"])


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    written(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    written(tmp_path, 2, 3)
    assert step_of(newest_checkpoint(tmp_path)) == 3
    assert step_of(tmp_path / "previous.ckpt") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]


@pytest.mark.parametrize("damage", [torn, zeroed, emptied])
def test_of_a_damaged_one_the_one_before_is_taken(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    written(tmp_path, 1, 2)
    damage(tmp_path / "last.ckpt")
    assert not is_whole(tmp_path / "last.ckpt")
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged; going on from .*previous\.ckpt"):
        found = newest_checkpoint(tmp_path)
    assert step_of(found) == 1
    # the next checkpoint may not put the damaged one in the place of the whole one
    written(tmp_path, 3)
    assert (step_of(tmp_path / "last.ckpt"), step_of(tmp_path / "previous.ckpt")) == (3, 1)


def test_a_crash_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    written(tmp_path, 1, 2)
    (tmp_path / "last.ckpt").replace(tmp_path / "previous.ckpt")
    assert step_of(newest_checkpoint(tmp_path)) == 2


def test_where_there_are_no_links_the_one_before_is_kept_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: Path) -> None:
        raise PermissionError

    monkeypatch.setattr("os.link", refuse)
    written(tmp_path, 1, 2)
    assert (step_of(tmp_path / "last.ckpt"), step_of(tmp_path / "previous.ckpt")) == (2, 1)


def final_weights(run_dir: Path) -> Weights:
    return read_weights(run_dir / "stages" / "2-second" / "weights.safetensors")[0]


@pytest.mark.parametrize(("damaged", "goes_on_at"), [(["last"], 4), (["last", "previous"], 0)])
def test_a_run_whose_checkpoints_are_torn_ends_with_the_same_bits(
    tmp_path: Path, damaged: list[str], goes_on_at: int
) -> None:
    second = {"stage__second__module__interrupt": "RuntimeError", "stage__second__module__interrupt_at": 7}
    options = {"rounds": 1, "checkpoint_every": 2, "logger": None}
    run_stages(toy_config(tmp_path / "whole", **options))
    cfg = toy_config(tmp_path / "run", **options, **second)
    with pytest.raises(RuntimeError):
        run_stages(cfg)
    checkpoints = tmp_path / "run" / "stages" / "2-second" / "checkpoints"
    for name in damaged:
        torn(checkpoints / f"{name}.ckpt")
    before = len((tmp_path / "run" / "seen-0.jsonl").read_text().splitlines())
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged"):
        run_stages(cfg)
    resumed = (tmp_path / "run" / "seen-0.jsonl").read_text().splitlines()[before]
    assert f'"step": {goes_on_at},' in resumed
    whole, found = final_weights(tmp_path / "whole"), final_weights(tmp_path / "run")
    assert torch.equal(whole["line"]["weight"], found["line"]["weight"])


def test_what_cannot_be_read_now_is_not_called_damaged(tmp_path: Path) -> None:
    """A folder in its place stands for a file server that does not answer: no byte of it was seen."""
    (tmp_path / "last.ckpt").mkdir()
    with pytest.raises(OSError, match=r"last\.ckpt"):
        newest_checkpoint(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]

"""A NaN stops the run, is blamed on the right step, and never gets into a checkpoint."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from watched_line import Named, WatchedLine, fit

from relit.errors import ConfigurationError, TrainingFailed
from relit.finite_loss import FiniteLoss


def failure(losses: dict[int, float], folder: Path, steps: int = 20, **options: Any) -> TrainingFailed:
    module = WatchedLine(losses=losses)
    with pytest.raises(TrainingFailed) as failed:
        fit(module, [FiniteLoss("line", folder / "last.ckpt")], steps, folder=folder, **options)
    return failed.value


def test_finite_losses_pass(tmp_path: Path) -> None:
    module = WatchedLine(losses={7: 1e30, 8: 1e-30})
    fit(module, [FiniteLoss("line", tmp_path / "last.ckpt")], steps=20, folder=tmp_path, log_every_n_steps=3)
    assert len(module.weights) == 20


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", [1, 13, 20])
@pytest.mark.parametrize("look_every", [1, 6, 1000])
def test_the_first_bad_step_is_named_whenever_it_is_looked_for(
    tmp_path: Path, loss: float, step: int, look_every: int
) -> None:
    message = str(failure({step: loss}, tmp_path, log_every_n_steps=look_every, checkpoint_every=50))
    assert f"Stage line: the loss of step {step} is {loss}.\n" in message
    assert "Last good checkpoint: none yet\n" in message


def test_message_names_checkpoint_and_remedies(tmp_path: Path) -> None:
    message = str(failure({13: math.nan}, tmp_path, gradient_clip_val=0.5, precision="bf16-mixed"))
    assert f"Last good checkpoint: {tmp_path / 'last.ckpt'} (step 10)\n" in message
    assert "stage.line.module.optimizer.lr" in message
    assert "trainer.gradient_clip_val, 0.5 now" in message
    assert "trainer.precision=32-true, bf16-mixed now" in message
    assert "name=other" in message
    assert "fresh=true" in message


def test_full_precision_is_not_recommended_to_who_has_it(tmp_path: Path) -> None:
    message = str(failure({13: math.nan}, tmp_path))
    assert "trainer.gradient_clip_val, not set now" in message
    assert "trainer.precision" not in message


def test_training_failed_is_no_configuration_error(tmp_path: Path) -> None:
    error = failure({2: math.nan}, tmp_path)
    assert isinstance(error, RuntimeError)
    assert not isinstance(error, ConfigurationError)


def test_no_checkpoint_holds_spoilt_weights(tmp_path: Path) -> None:
    # the weights are lost from step 13 on: the checkpoint of step 20 may not replace that of step 10
    failure({13: math.nan}, tmp_path, steps=40)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 10
    assert all(tensor.isfinite().all() for tensor in checkpoint["state_dict"].values())


def test_a_resumed_run_knows_its_checkpoint(tmp_path: Path) -> None:
    failure({13: math.nan}, tmp_path)
    resumed = failure({17: math.inf}, tmp_path, resume=tmp_path / "last.ckpt")
    assert "the loss of step 17 is inf" in str(resumed)
    assert "(step 10)" in str(resumed)


def test_steps_are_counted_whatever_they_are_accumulated_from(tmp_path: Path) -> None:
    class Batches(WatchedLine):
        batches = 0

        def training_step(self, batch: Named) -> Any:
            self.batches += 1
            # the first of the two batches of step 4
            return super().training_step(batch) * (math.nan if self.batches == 7 else 1)

    with pytest.raises(TrainingFailed, match="the loss of step 4 is nan"):
        fit(Batches(), [FiniteLoss("line", tmp_path)], steps=10, accumulate_grad_batches=2)


def test_a_finite_loss_whose_gradient_overflows_passes(tmp_path: Path) -> None:
    class Overflowing(WatchedLine):
        def training_step(self, batch: Named) -> Tensor:
            # the square root's slope at 0 is infinite
            return super().training_step(batch) + (self.line.weight * 0).abs().sqrt().sum()

    with pytest.raises(TrainingFailed, match="the loss of step 2 is nan"):
        fit(Overflowing(), [FiniteLoss("line", tmp_path)], steps=5)
    module = Overflowing()
    module.optimizer_step = lambda *args: args[3]()  # type: ignore[method-assign]
    fit(module, [FiniteLoss("line", tmp_path)], steps=5, log_every_n_steps=1)
    assert not module.line.weight.grad.isfinite().any()


class NotingFiniteLoss(FiniteLoss):
    """Writes what it stops each rank with, and waits for the other one, which ends with the first."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        try:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        except TrainingFailed as failed:
            folder = self.checkpoint.parent
            (folder / f"{trainer.global_rank}.txt").write_text(str(failed))
            end = time.monotonic() + 30
            while len(list(folder.glob("*.txt"))) < 2 and time.monotonic() < end:
                time.sleep(0.05)
            raise


class BadOnRankOne(WatchedLine):
    """Its loss is infinite on the second rank only."""

    def training_step(self, batch: Named) -> Any:
        loss = super().training_step(batch)
        return loss * math.inf if self.global_rank == 1 and self.global_step + 1 == 5 else loss


@pytest.mark.slow
def test_all_ranks_stop_with_the_same_message(tmp_path: Path) -> None:
    callback = NotingFiniteLoss("line", tmp_path / "last.ckpt")
    with pytest.raises(Exception, match="the loss of step 5 is inf"):
        fit(BadOnRankOne(), [callback], steps=20, devices=2, strategy="ddp_spawn", log_every_n_steps=8)
    said = [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)]
    assert said[0] == said[1]
    assert said[0].startswith("Stage line: the loss of step 5 is inf")

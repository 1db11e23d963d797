"""A loss that is no longer a number ends the run, before it can spoil a checkpoint."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from relit.errors import TrainingFailed


class FiniteLoss(Callback):
    """Stop with :class:`TrainingFailed` once the loss is NaN or infinite on any rank.

    The first such step is noted on the device. It is looked at every ``trainer.log_every_n_steps`` steps,
    before each checkpoint and at the end of training, so not every step waits for the device. Only the loss
    counts: under fp16 the gradients of a finite loss may overflow, and the scaler leaves out such steps.

    Args:
        stage: the stage's key under ``stage``, for the message.
        checkpoint: where the stage's checkpoint lies.
        before: the weights that the stage before left, if there is one.
    """

    def __init__(self, stage: str, checkpoint: Path, before: Path | None = None) -> None:
        self.stage = stage
        self.checkpoint = checkpoint
        self.before = before
        self._saved: int | None = None
        self._step = 0
        # step and loss, (2,) on the device; the step is infinite while all is well
        self._first_bad: Tensor | None = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the number of the step, from 1, that this batch belongs to."""
        self._step = trainer.global_step + 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss if it is the first bad one; look when due."""
        self._note(outputs["loss"].detach().float())
        # set by Trainer's logger connector, out of mypy's sight
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and trainer.global_step % every == 0:
            self._look(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look a last time."""
        self._look(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look, so that a checkpoint only ever holds good weights."""
        self._look(trainer)
        self._saved = trainer.global_step

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember which step the checkpoint is of."""
        self._saved = checkpoint["global_step"]

    def _note(self, loss: Tensor) -> None:
        # filled on the device: a number copied to it would wait for it
        now = torch.stack([torch.full_like(loss, self._step), loss])
        if self._first_bad is None:
            self._first_bad = torch.full_like(now, math.inf)
        good_or_later = loss.isfinite() | self._first_bad[0].isfinite()
        self._first_bad = torch.where(good_or_later, self._first_bad, now)

    def _look(self, trainer: Trainer) -> None:
        if self._first_bad is None:
            return
        step, loss = self._first_bad
        # a copy, because ranks reduce in place
        first = trainer.strategy.reduce(step.clone(), reduce_op="min")
        if first.isfinite():
            # bad ranks' losses add up to a bad one
            bad = trainer.strategy.reduce(torch.where(step == first, loss, 0.0), reduce_op="sum")
            raise TrainingFailed(self._message(trainer, int(first), float(bad)))

    def _message(self, trainer: Trainer, step: int, loss: float) -> str:
        last = f"{self.checkpoint} (step {self._saved})"
        if self._saved is None:
            last = "none yet" if self.before is None else f"none in this stage; before it {self.before}"
        clipped = trainer.gradient_clip_val
        remedies = [
            f"a lower learning rate: stage.{self.stage}.module.optimizer.lr",
            f"clipped gradients: trainer.gradient_clip_val, {'not set' if clipped is None else clipped} now",
        ]
        if not trainer.precision.startswith("32"):
            remedies.append(f"full precision: trainer.precision=32-true, {trainer.precision} now")
        return (
            f"Stage {self.stage}: the loss of step {step} is {loss}.\n"
            f"Last good checkpoint: {last}\n"
            "What helps:\n" + "".join(f"  {remedy}\n" for remedy in remedies) + "Other settings need a run "
            "of their own: give them with name=other, or with fresh=true to start this one anew."
        )

"""A line learned on random points that notes its weights after every step, to check what watches a stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader
from toy_regression import WIDTH, Points, ToyPoints

from relit.checkpoints import AtomicCheckpointIO, NewestCheckpoint
from relit.keyed import keyed_generator
from relit.stop_signals import StopSignals

Named = dict[str, Tensor]


class WatchedPoints(ToyPoints):
    """Eight points to validate on, all in one batch."""

    def val_dataloader(self) -> DataLoader[Named]:
        points = torch.utils.data.Subset(Points(1), range(8))
        return DataLoader(points, batch_size=8, generator=torch.Generator())


class WatchedLine(LightningModule):
    """Linear regression that falls back where it is told to.

    Args:
        away_from: step from which on its targets are mirrored, so that its validation error grows again.
        losses: step -> what its loss is multiplied by.

    Attributes:
        weights: step -> weights after it.
        seen_losses: step -> loss.
        validated: step -> weights while validated.
    """

    def __init__(self, away_from: int | None = None, losses: dict[int, float] | None = None) -> None:
        super().__init__()
        self.away_from, self.factors = away_from, losses or {}
        self.line = nn.Linear(WIDTH, 1)
        self.restart(0)
        # as a stage keeps text features: empty until training starts, and of no fixed shape
        self.register_buffer("text", torch.empty(0), persistent=False)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.weights: dict[int, Named] = {}
        self.seen_losses: dict[int, Tensor] = {}
        self.validated: dict[int, Named] = {}

    def restart(self, attempt: int) -> None:
        generator = keyed_generator("line", attempt)
        with torch.no_grad():
            for parameter in self.line.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def on_fit_start(self) -> None:
        self.text = torch.ones(2, 3)

    def training_step(self, batch: Named) -> Any:
        self.count += 1
        step = self.global_step + 1
        y = -batch["y"] if self.away_from is not None and step >= self.away_from else batch["y"]
        loss = (self.line(batch["x"])[:, 0] - y).square().mean() * self.factors.get(step, 1.0)
        self.seen_losses[step] = loss.detach()
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.weights[self.global_step] = self.copied_weights()

    def validation_step(self, batch: Named) -> None:
        self.validated[self.global_step] = self.copied_weights()
        self.log("val/error", validation_error(self.line, batch), batch_size=8)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.05)

    def copied_weights(self) -> Named:
        return {name: tensor.detach().clone() for name, tensor in self.line.state_dict().items()}


def validation_error(line: nn.Module, batch: Named) -> Tensor:
    """Mean squared error of ``line`` on ``batch``."""
    return (line(batch["x"])[:, 0] - batch["y"]).square().mean()


def trainer(
    callbacks: Sequence[Callback],
    steps: int,
    folder: Path | None = None,
    checkpoint_every: int = 10,
    validate_every: int | None = None,
    signals: StopSignals | None = None,
    **options: Any,
) -> Trainer:
    """A Trainer as a stage's, on one CPU; it writes checkpoints if there is a ``folder``."""
    if folder is not None:
        callbacks = [*callbacks, NewestCheckpoint(folder, checkpoint_every, validate_every, signals)]
    defaults = {"accelerator": "cpu", "devices": 1, "log_every_n_steps": 1000}
    return Trainer(
        **{**defaults, **options},
        max_steps=steps,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        val_check_interval=validate_every or 1,
        limit_val_batches=0 if validate_every is None else 1,
        callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO()],
        logger=False,
        default_root_dir=folder,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_checkpointing=folder is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def fit(
    module: LightningModule,
    callbacks: Sequence[Callback],
    steps: int,
    resume: Path | None = None,
    **options: Any,
) -> Trainer:
    """Train ``module``, from the checkpoint ``resume`` on if there is one."""
    built = trainer(callbacks, steps, **options)
    built.fit(module, datamodule=WatchedPoints(batch_size=4), ckpt_path=resume, weights_only=True)
    return built


def assert_same(left: Named, right: Named) -> None:
    """Equal to the last bit."""
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert torch.equal(tensor, right[name]), name

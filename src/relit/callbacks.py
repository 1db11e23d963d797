"""What watches a stage while it trains: progress bar, bounded extension, checkpoints."""

from __future__ import annotations

import io
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.plugins import TorchCheckpointIO
from torch import Tensor
from tqdm.auto import tqdm

from relit.atomic import atomic_write

WATCHED_STEPS = 30
"""Losses of this many last steps decide whether a stage goes on, as in the CLIP-LIT release."""

CHECKPOINT_NAME = "last.ckpt"


class StageProgressBar(ProgressBar):
    """One bar per stage, ``3/7 enhancement``, that counts optimisation steps and shows the last metrics.

    Args:
        title: text in front of the bar.
    """

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self._enabled = True
        self._bar: tqdm | None = None

    def enable(self) -> None:
        """Show the bar (rank 0)."""
        self._enabled = True

    def disable(self) -> None:
        """Show nothing (Lightning calls this on all other ranks)."""
        self._enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar at the step the stage goes on from."""
        self._bar = tqdm(
            desc=self._title,
            initial=trainer.global_step,
            total=trainer.max_steps,
            disable=not self._enabled,
            dynamic_ncols=True,
            # a log file gets a line now and then, a terminal a moving bar
            mininterval=0.2 if sys.stderr.isatty() else 15,
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on, and follow an extension of the stage."""
        if self._bar is None or self._bar.disable:
            return
        self._bar.total = trainer.max_steps
        # set by Trainer's logger connector, out of mypy's sight
        if trainer.global_step % cast(Any, trainer).log_every_n_steps == 0:
            metrics = self.get_metrics(trainer, pl_module)
            metrics.pop("v_num", None)
            self._bar.set_postfix(metrics, refresh=False)
        self._bar.update(trainer.global_step - self._bar.n)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the message stands on its own line."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()
            self._bar = None


@dataclass(frozen=True)
class ExtensionRule:
    """Go on by ``by`` steps, at most ``at_most`` times, while the mean loss is above ``above``."""

    above: float
    by: int
    at_most: int


class LossExtension(Callback):
    """Prolong a stage whose loss is still high at its planned end, as the CLIP-LIT release does, but bounded.

    The losses seen and the extensions used are part of each checkpoint, so a resumed run decides as the
    uninterrupted one. All ranks decide on the mean loss over ranks.

    Args:
        rule: when, by how much and how often.
        planned_steps: where the stage ends without extension.
    """

    def __init__(self, rule: ExtensionRule, planned_steps: int) -> None:
        self.rule = rule
        self.planned_steps = planned_steps
        self.used = 0
        self._losses: deque[Tensor] = deque(maxlen=WATCHED_STEPS)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss; at the current end, decide."""
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        self._losses.append(loss.detach())
        if trainer.global_step < trainer.max_steps or self.used >= self.rule.at_most:
            return
        mean = trainer.strategy.reduce(torch.stack(list(self._losses)).mean())
        if float(mean) > self.rule.above:
            self.used += 1
            self._set_end(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep what the next decision needs."""
        checkpoint["loss_extension"] = {"used": self.used, "losses": torch.stack(list(self._losses)).cpu()}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take up the extensions already granted, before Lightning asks whether training is over."""
        stored = checkpoint["loss_extension"]
        self.used = stored["used"]
        device = trainer.strategy.root_device
        self._losses.extend(stored["losses"].to(device).unbind())
        self._set_end(trainer)

    def _set_end(self, trainer: Trainer) -> None:
        # Trainer.max_steps is read-only and reads this attribute
        trainer.fit_loop.epoch_loop.max_steps = self.planned_steps + self.used * self.rule.by


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent, and that load without unpickling code.

    Lightning's own writer goes through the system's temporary folder, so it is not atomic where that is
    another file system, and neither syncs to the disk nor names the path when the disk is full.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write ``checkpoint`` to ``path`` in one atomic replacement."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        atomic_write(Path(path), buffer.getvalue())

    def load_checkpoint(
        self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint: tensors and plain containers only."""
        return torch.load(path, map_location=map_location, weights_only=True)


class NewestCheckpoint(Checkpoint):
    """Keep one checkpoint, replaced every ``every`` optimisation steps.

    Args:
        folder: where ``last.ckpt`` lies.
        every: steps between two checkpoints.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.path = folder / CHECKPOINT_NAME
        self.every = every

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write when due. Lightning calls checkpoint callbacks last, so the others' state is up to date."""
        if trainer.global_step % self.every == 0:
            trainer.save_checkpoint(self.path)

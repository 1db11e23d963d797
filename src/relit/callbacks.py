"""What a stage has while it trains: a progress bar, and something to validate on."""

from __future__ import annotations

import sys
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm.auto import tqdm

from relit.errors import ConfigurationError


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


class SomethingToValidateOn(Callback):
    """Refuse a stage that shall validate where a process has no photograph to validate on."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """All processes decide together. Each needs a photograph: Lightning's first batch of a validation
        may exchange buffers between all of them.
        """
        if trainer.strategy.reduce_boolean_decision(sum(trainer.num_val_batches) > 0, all=True):
            return
        raise ConfigurationError(
            f"validate_every is set, but there is nothing to validate on for each of {trainer.world_size} "
            "process(es): name a folder with data.val_input=DIR (of pairs: data.layout.val_input=DIR and "
            "data.layout.val_reference=DIR), or keep photographs out of training with data.held_out=N."
        )

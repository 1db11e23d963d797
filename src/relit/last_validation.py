"""The figures of a stage's last validation: what a run that is one of many is judged by."""

from __future__ import annotations

from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from relit.best_snapshot import BestSnapshot
from relit.logged import VALIDATION


class LastValidation(Callback):
    """Keep what the last validation measured; it is part of each checkpoint.

    Attributes:
        figures: the validation metrics by name, such as ``val/psnr``; empty before the first validation.
    """

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Metrics are complete only now."""
        self.figures = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith(f"{VALIDATION}/")
        }

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A run that goes on after its last validation still knows it."""
        checkpoint["last_validation"] = dict(self.figures)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take up the figures; checkpoints of earlier releases have none."""
        self.figures = dict(checkpoint.get("last_validation", {}))

    def of_handover(self, trainer: Trainer) -> dict[str, float]:
        """The figures of the weights that the stage hands over: with ``best``, not the last ones."""
        figures = dict(self.figures)
        # set by Trainer's callback connector, out of mypy's sight
        for callback in cast(Any, trainer).callbacks:
            if isinstance(callback, BestSnapshot) and callback.rule.monitor in figures and callback.step:
                figures[callback.rule.monitor] = callback.value
        return figures

"""Give a run up that does worse than others of its sweep."""

from __future__ import annotations

from typing import Protocol

from lightning.pytorch import Callback, LightningModule, Trainer

from relit.errors import TrialPruned


class Trial(Protocol):
    """A run as one of several that are compared."""

    def give_up(self, step: int, value: float) -> bool:
        """Take in the monitored ``value`` at ``step`` of the run; whether to stop it."""
        ...


class Pruning(Callback):
    """After each validation, tell ``trial`` the monitored value, and stop if it says so.

    Rank 0 asks, and all ranks stop together.

    Args:
        trial: the run among others.
        monitor: name of a validation metric, such as ``val/psnr``. Stages without it are not judged.
        offset: steps of the stages before this one.
    """

    def __init__(self, trial: Trial, monitor: str, offset: int) -> None:
        self.trial, self.monitor, self.offset = trial, monitor, offset

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge: metrics are complete only now.

        Raises:
            TrialPruned: the run is to be given up.
        """
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        step, value = self.offset + trainer.global_step, float(trainer.callback_metrics[self.monitor])
        stop = trainer.is_global_zero and self.trial.give_up(step, value)
        if trainer.strategy.broadcast(stop):
            raise TrialPruned(f"{self.monitor} is {value:.6g} at step {step}")

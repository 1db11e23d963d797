"""A run as one of a sweep's: it is given up if others do better, and left to the worker that took it over."""

from __future__ import annotations

from typing import Any, Protocol

from lightning.pytorch import Callback, LightningModule, Trainer

from relit.errors import TrialPruned, TrialTakenOver


class Trial(Protocol):
    """A run as one of several that are compared."""

    def give_up(self, step: int, value: float) -> bool:
        """Take in the monitored ``value`` at ``step`` of the run; whether to stop it."""
        ...

    def taken_over(self) -> bool:
        """Whether the run has become another worker's."""
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


class GiveWay(Callback):
    """Leave the run to the worker that has taken it over.

    A worker counts as dead when it gives no sign of life, and may live: its machine was suspended, say. Its
    trial then asks at every checkpoint, where nothing is lost by leaving; whether a stage has validations
    does not matter. Rank 0 asks, and all ranks leave together.

    Args:
        trial: the run among others.
        every: steps between two checkpoints.
    """

    def __init__(self, trial: Trial, every: int) -> None:
        self.trial, self.every = trial, every

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Ask: by now the checkpoint of the last step is written.

        Raises:
            TrialTakenOver: the run is another worker's.
        """
        if trainer.global_step % self.every:
            return
        leave = trainer.is_global_zero and self.trial.taken_over()
        if trainer.strategy.broadcast(leave):
            raise TrialTakenOver(
                f"another worker has taken it over and goes on from step {trainer.global_step} of the stage"
            )

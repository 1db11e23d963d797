"""Hand over a stage's best weights instead of its last ones."""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from relit.errors import ConfigurationError
from relit.window import Window

log = logging.getLogger(__name__)

LOSS = "loss"
"""The monitor that is not a validation metric: the mean training loss of a window of steps."""


@dataclass(frozen=True)
class BestRule:
    """Which weights are the best ones.

    Attributes:
        monitor: ``loss``, or the name of a validation metric, such as ``val/psnr``.
        mode: whether the least or the greatest value is best, ``min`` or ``max``.
    """

    monitor: str
    mode: Literal["min", "max"]

    def __post_init__(self) -> None:
        if self.mode not in ("min", "max"):
            raise ConfigurationError(f"best.mode={self.mode}: must be min or max.")

    def improves(self, value: float, best: float) -> bool:
        """Whether ``value`` is strictly better than ``best``; NaN never is."""
        return value < best if self.mode == "min" else value > best

    @property
    def worst(self) -> float:
        """What every number is better than."""
        return math.inf if self.mode == "min" else -math.inf


class BestSnapshot(Callback):
    """Keep a copy of the weights whenever the monitored value improves; end the stage with the best ones.

    ``loss`` is the mean over the :data:`~relit.window.WATCHED_STEPS` steps of one window after the other
    and over ranks, and the weights are those at the window's end. A validation metric judges the weights that
    were validated; with a moving average, which has to be listed after this callback, those are the averaged
    ones. Snapshot, value and window are part of each checkpoint, so a resumed run ends with the same weights.

    Args:
        stage: the stage's key under ``stage``, for messages.
        rule: what is best.
    """

    def __init__(self, stage: str, rule: BestRule) -> None:
        self.stage = stage
        self.rule = rule
        self.value = rule.worst
        self.step = 0
        self._weights: dict[str, Tensor] | None = None
        self._validated: dict[str, Tensor] = {}
        self._window = Window()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """At the end of each window, judge the mean loss."""
        if self.rule.monitor != LOSS:
            return
        self._window.add(outputs["loss"])
        if not self._window.full:
            return
        value = self._window.mean(trainer.strategy)
        self._window.clear()
        if self.rule.improves(value, self.value):
            self._keep(value, trainer.global_step, _copied_weights(pl_module))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the weights that were validated, while a moving average still stands in."""
        if self._judges_validation(trainer):
            self._validated = _copied_weights(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge: metrics are complete only now.

        Raises:
            ConfigurationError: validation gives no such metric.
        """
        if not self._judges_validation(trainer):
            return
        validated, self._validated = self._validated, {}
        value = self._metric(trainer)
        if self.rule.improves(value, self.value):
            self._keep(value, trainer.global_step, validated)

    def on_restart(self, pl_module: LightningModule) -> None:
        """Forget the network that was drawn anew: it was no good, whatever it scored."""
        self._keep(self.rule.worst, 0, None)
        self._window.clear()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep what the stage may end with."""
        checkpoint["best_snapshot"] = {
            "value": self.value,
            "step": self.step,
            "weights": self._weights,
            "window": self._window.state(trainer.strategy),
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take up the best weights so far."""
        stored = checkpoint["best_snapshot"]
        self._keep(stored["value"], stored["step"], stored["weights"])
        self._window.load(stored["window"], trainer.strategy)

    # not in on_fit_end: there a moving average, listed later, would put its last weights over the best ones
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the best weights, after everything else and before the handover."""
        if self._weights is None:
            warnings.warn(
                f"stage.{self.stage}.best: {self.rule.monitor} never had a value to judge by in "
                f"{trainer.global_step} steps; the last weights stand.",
                stacklevel=1,
            )
            return
        pl_module.load_state_dict(self._weights)
        if trainer.is_global_zero:
            log.info(
                "Stage %s ends with the weights of step %d of %d: %s %.6g",
                *(self.stage, self.step, trainer.global_step, self.rule.monitor, self.value),
            )

    def _judges_validation(self, trainer: Trainer) -> bool:
        return self.rule.monitor != LOSS and not trainer.sanity_checking

    def _metric(self, trainer: Trainer) -> float:
        """The monitored metric; all ranks get the same, so that they keep the same step's weights."""
        metrics = trainer.callback_metrics
        if self.rule.monitor not in metrics:
            known = ", ".join(sorted({LOSS, *metrics}))
            raise ConfigurationError(
                f"stage.{self.stage}.best.monitor={self.rule.monitor}: no such metric. Known: {known}."
            )
        # a copy, because ranks reduce in place
        value = metrics[self.rule.monitor].to(trainer.strategy.root_device, copy=True)
        return float(trainer.strategy.reduce(value))

    def _keep(self, value: float, step: int, weights: dict[str, Tensor] | None) -> None:
        self.value, self.step, self._weights = value, step, weights


def _copied_weights(module: LightningModule) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in module.state_dict().items()}

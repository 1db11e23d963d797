"""Hand over a moving average of a stage's weights.

Lightning's ``WeightAveraging`` copies the whole LightningModule, with the feature bank and all it holds, and
expects buffers to keep their shapes, which buffers filled when training starts do not. What is averaged here
are the parameters alone, by torch's own rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from relit.errors import ConfigurationError


@dataclass(frozen=True)
class AverageRule:
    """How slowly the average follows: over about ``every / (1 - decay)`` steps.

    Attributes:
        decay: weight of the average so far, in (0, 1); the rest is the current weights'.
        every: steps between two updates.
    """

    decay: float
    every: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ConfigurationError(f"ema.decay={self.decay}: must lie between 0 and 1, such as 0.999.")
        if self.every < 1:
            raise ConfigurationError(f"ema.every={self.every}: must be 1 or more.")


class MovingAverage(Callback):
    """Exponential moving average of the parameters: average = decay average + (1 - decay) parameters.

    It begins with the parameters after the first update's step. It stands in for them while the stage
    validates, and for good at the end of the stage. Buffers stay the trained module's. The average is part of
    each checkpoint, beside the trained weights, so a resumed run ends with the same one.

    Args:
        rule: how slowly, and how often.
    """

    def __init__(self, rule: AverageRule) -> None:
        self.rule = rule
        self._average: list[Tensor] | None = None
        self._updated = 0
        self._update = get_ema_multi_avg_fn(rule.decay)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update once per due step, of however many batches it was accumulated."""
        step = trainer.global_step
        if step == self._updated or step % self.rule.every:
            return
        self._updated = step
        parameters = _parameters(pl_module)
        if self._average is None:
            self._average = [parameter.clone() for parameter in parameters]
        else:
            # the number of updates so far, which an exponential average does not ask for
            self._update(self._average, parameters, 0)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average."""
        self._swap(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the trained parameters."""
        self._swap(pl_module)

    # not in on_train_end, which Lightning leaves out for a run resumed at its last step
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the stage with the average."""
        if self._average is not None:
            for average, parameter in zip(self._average, _parameters(pl_module), strict=True):
                parameter.copy_(average)

    def on_restart(self, pl_module: LightningModule) -> None:
        """Begin anew with a network that was drawn anew."""
        self._average = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the average on the CPU."""
        average = None if self._average is None else [tensor.cpu() for tensor in self._average]
        checkpoint["moving_average"] = {"updated": self._updated, "average": average}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take up the average."""
        stored = checkpoint["moving_average"]
        self._updated = stored["updated"]
        if stored["average"] is not None:
            self._average = [tensor.to(trainer.strategy.root_device) for tensor in stored["average"]]

    def _swap(self, pl_module: LightningModule) -> None:
        if self._average is None:
            return
        for average, parameter in zip(self._average, _parameters(pl_module), strict=True):
            trained = parameter.clone()
            parameter.copy_(average)
            average.copy_(trained)


def _parameters(module: torch.nn.Module) -> list[Tensor]:
    """The parameters themselves, out of autograd's sight: of ``module.averaged`` where it says so, or all."""
    averaged = cast("torch.nn.Module", getattr(module, "averaged", module))
    return [parameter.detach() for parameter in averaged.parameters()]

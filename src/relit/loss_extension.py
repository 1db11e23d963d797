"""Prolong a stage while its loss is high, with a bound."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from relit.errors import ConfigurationError
from relit.window import Window

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtensionRule:
    """Go on by ``by`` steps, at most ``at_most`` times, while the mean loss is above ``above``."""

    above: float
    by: int
    at_most: int

    def __post_init__(self) -> None:
        for name, least in (("above", None), ("by", 1), ("at_most", 0)):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if least is None and not (whole or isinstance(value, float)):
                raise ConfigurationError(f"extend.{name}: expected a number, not {value!r}.")
            if least is not None and not (whole and value >= least):
                raise ConfigurationError(f"extend.{name}: expected a whole number >= {least}, not {value!r}.")


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
        self._losses = Window()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss; at the current end, decide."""
        self._losses.add(outputs["loss"])
        if trainer.global_step < trainer.max_steps or self.used >= self.rule.at_most:
            return
        mean = self._losses.mean(trainer.strategy)
        if mean > self.rule.above:
            self.used += 1
            self._set_end(trainer)
            if trainer.is_global_zero:
                log.info(
                    "The loss, %.3g, is above %g: %d more steps, extension %d of %d.",
                    mean,
                    self.rule.above,
                    self.rule.by,
                    self.used,
                    self.rule.at_most,
                )

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep what the next decision needs."""
        checkpoint["loss_extension"] = {"used": self.used, "losses": self._losses.state(trainer.strategy)}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take up the extensions already granted, before Lightning asks whether training is over."""
        stored = checkpoint["loss_extension"]
        self.used = stored["used"]
        self._losses.load(stored["losses"], trainer.strategy)
        self._set_end(trainer)

    def _set_end(self, trainer: Trainer) -> None:
        # Trainer.max_steps is read-only and reads this attribute
        trainer.fit_loop.epoch_loop.max_steps = self.planned_steps + self.used * self.rule.by

"""Draw a network anew whose results stay far from their inputs, as CLIP-LIT's release does."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer

from relit.errors import ConfigurationError
from relit.window import WATCHED_STEPS, Window

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RestartRule:
    """When a start counts as dead.

    Attributes:
        below: mean PSNR in dB over the last :data:`~relit.window.WATCHED_STEPS` steps.
        after: steps before the first judgement, and before the first one after a restart.
        at_most: restarts of one stage.
    """

    below: float = 8.0
    after: int = 100
    at_most: int

    def __post_init__(self) -> None:
        for key, value in (("after", self.after), ("at_most", self.at_most)):
            if value < 0:
                raise ConfigurationError(f"restart.{key}={value}: must be 0 or more.")


class Restartable(Protocol):
    """A module whose ``training_step`` gives ``psnr``, the mean over the batch's images in dB, a scalar."""

    def restart(self, attempt: int) -> None:
        """Draw the weights anew, in place; ``attempt`` counts from 1."""
        ...


@runtime_checkable
class RestartListener(Protocol):
    """A callback that keeps earlier weights, which a restart makes worthless."""

    def on_restart(self, pl_module: LightningModule) -> None:
        """Forget them."""
        ...


class DeadStart(Callback):
    """Draw the network anew while the PSNR of its results to their inputs stays low.

    All ranks decide on the mean over ranks. A restart clears the optimizer's state and tells the callbacks
    that keep earlier weights (see :class:`RestartListener`); it is best listed after them. Restarts used and
    the values seen are part of each checkpoint, so a resumed run decides as the uninterrupted one.

    The stage's steps go on: a restart does not prolong it (the release adds 100 steps to it). Nor does it
    touch a learning rate schedule.

    Args:
        stage: the stage's key under ``stage``, for messages.
        rule: when and how often.
    """

    def __init__(self, stage: str, rule: RestartRule) -> None:
        self.stage = stage
        self.rule = rule
        self.used = 0
        self._begun = 0
        self._psnr = Window()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a module that can't restart."""
        if not callable(getattr(pl_module, "restart", None)):
            raise ConfigurationError(
                f"stage.{self.stage}.restart: {type(pl_module).__name__} can't draw its network anew; "
                f"set stage.{self.stage}.restart=null."
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the PSNR, and judge the last steps once there are more than ``rule.after``.

        Raises:
            ConfigurationError: the network is dead and all restarts are used up.
        """
        self._psnr.add(outputs["psnr"])
        if trainer.global_step - self._begun <= self.rule.after or not self._psnr.full:
            return
        mean = self._psnr.mean(trainer.strategy)
        if mean < self.rule.below:
            self._restart(trainer, pl_module, mean)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep what the next decision needs."""
        checkpoint["dead_start"] = {
            "used": self.used,
            "begun": self._begun,
            "psnr": self._psnr.state(trainer.strategy),
        }

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take up the restarts already used."""
        stored = checkpoint["dead_start"]
        self.used, self._begun = stored["used"], stored["begun"]
        self._psnr.load(stored["psnr"], trainer.strategy)

    def _restart(self, trainer: Trainer, pl_module: LightningModule, mean: float) -> None:
        found = (
            f"mean PSNR of result to input over the last {WATCHED_STEPS} steps {mean:.2f} dB, "
            f"below {self.rule.below:g}"
        )
        if self.used == self.rule.at_most:
            raise ConfigurationError(
                f"stage.{self.stage}.restart: dead at step {trainer.global_step} ({found}), and all "
                f"{self.rule.at_most} restarts are used up. Begin near the identity with "
                "network.initial_map=1.0, or take another seed."
            )
        self.used += 1
        if trainer.is_global_zero:
            log.info(
                "Stage %s: dead start at step %d (%s). The network is drawn anew, restart %d of at most %d.",
                *(self.stage, trainer.global_step, found, self.used, self.rule.at_most),
            )
        cast("Restartable", pl_module).restart(self.used)
        for optimizer in trainer.optimizers:
            optimizer.state.clear()
        for callback in cast("list[Callback]", trainer.callbacks):  # type: ignore[attr-defined]
            if isinstance(callback, RestartListener):
                callback.on_restart(pl_module)
        self._begun = trainer.global_step
        self._psnr.clear()

"""The Trainer of one stage: which callbacks watch it, when it validates, where it begins and ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from relit.best_snapshot import BestRule, BestSnapshot
from relit.callbacks import SomethingToValidateOn, StageProgressBar
from relit.checkpoints import CHECKPOINT_NAME, AtomicCheckpointIO, NewestCheckpoint
from relit.dead_start import DeadStart, RestartRule
from relit.finite_loss import FiniteLoss
from relit.loggers import RunLogger
from relit.loss_extension import ExtensionRule, LossExtension
from relit.moving_average import AverageRule, MovingAverage
from relit.plan import PlannedStage
from relit.stop_signals import StopAfterStep, StopSignals


def stage_trainer(
    config: Mapping[str, Any],
    planned: PlannedStage,
    folder: Path,
    before: Path | None,
    logger: RunLogger | None,
    signals: StopSignals,
    watchers: Sequence[Callback] = (),
) -> Trainer:
    """A Trainer for one stage of the resolved ``config``.

    Args:
        config: the run's settings: ``trainer`` for all stages, ``stage.<name>`` for this one.
        planned: the stage's place in the plan.
        folder: where the stage's files lie.
        before: the weights that the stage before left, if there is one.
        logger: the run's, or None.
        signals: those that end the run.
        watchers: callbacks of the runner's own.
    """
    stage = config["stage"][planned.name]
    validate_every = stage.get("validate_every")
    return Trainer(
        **{**config["trainer"], **(stage.get("trainer") or {})},
        max_steps=stage["steps"],
        max_epochs=-1,
        # counted in steps of the whole stage, for its batches have no end
        check_val_every_n_epoch=None,
        val_check_interval=validate_every or 1,
        limit_val_batches=0 if validate_every is None else None,
        callbacks=[*watchers, *_callbacks(config, planned, folder, before, signals)],
        plugins=[AtomicCheckpointIO()],
        logger=logger or False,
        default_root_dir=folder,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_progress_bar=config["progress"],
        enable_model_summary=False,
    )


def _callbacks(
    config: Mapping[str, Any],
    planned: PlannedStage,
    folder: Path,
    before: Path | None,
    signals: StopSignals,
) -> list[Callback]:
    stage = config["stage"][planned.name]
    checkpoint = folder / "checkpoints" / CHECKPOINT_NAME
    callbacks: list[Callback] = [StopAfterStep(signals), FiniteLoss(planned.name, checkpoint, before)]
    if stage.get("validate_every") is not None:
        callbacks.append(SomethingToValidateOn())
    if stage.get("extend") is not None:
        callbacks.append(LossExtension(ExtensionRule(**stage["extend"]), stage["steps"]))
    if stage.get("best") is not None:
        callbacks.append(BestSnapshot(planned.name, BestRule(**stage["best"])))
    if stage.get("ema") is not None:
        callbacks.append(MovingAverage(AverageRule(**stage["ema"])))
    # last, so that those who keep weights have seen the step when it tells them to forget
    if stage.get("restart") is not None:
        callbacks.append(DeadStart(planned.name, RestartRule(**stage["restart"])))
    if config["progress"]:
        callbacks.append(StageProgressBar(planned.title))
    callbacks.append(
        NewestCheckpoint(checkpoint.parent, config["checkpoint_every"], stage.get("validate_every"), signals)
    )
    return callbacks

"""Train one stage of a run, from its checkpoint if there is one, and record what it learned."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from relit.checkpoints import newest_checkpoint
from relit.configured_network import build_network_to_train
from relit.instantiation import bind
from relit.keyed import keyed_seed
from relit.last_validation import LastValidation
from relit.learning_rate import SCALINGS, scaled_rates
from relit.plan import PlannedStage
from relit.processes import from_rank_0
from relit.provenance import NoteData
from relit.pruning import GiveWay, Pruning
from relit.run import Run
from relit.run_state import FinishedStage, write_state
from relit.stage_context import StageContext, StageModule
from relit.stage_trainer import stage_trainer
from relit.weights import Weights, write_weights

log = logging.getLogger(__name__)


def train_stage(run: Run, planned: PlannedStage, weights: Weights) -> Weights:
    """Train ``planned``, which has all ``weights`` handed over so far; return those with its own."""
    module = _module(run, planned, weights)
    last = LastValidation()
    trainer = _trainer(run, planned, last)
    datamodule = run.data.of(run.settings_of(planned))
    checkpoints = run.folder(planned) / "checkpoints"
    checkpoint = from_rank_0(run.strategy, partial(newest_checkpoint, checkpoints))
    trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    weights = {**weights, **_on_cpu(cast("StageModule", module).handover())}
    # data modules outlive stages; by their trainer they would keep the module and its features alive
    datamodule.trainer = None
    _record(run, planned, weights, trainer.global_step, last.of_handover(trainer))
    return weights


def _module(run: Run, planned: PlannedStage, weights: Weights) -> LightningModule:
    context = StageContext(
        name=planned.name,
        index=planned.index,
        count=planned.count,
        round=planned.round,
        seed=keyed_seed(run.config["seed"], planned.index, planned.name),
        weights=weights,
        run_dir=run.run_dir,
        clip=run.clip,
        network=partial(build_network_to_train, run.config),
        compile=run.config.get("compile", False),
    )
    # what a layer draws for itself at construction is keyed, too
    torch.manual_seed(context.seed)
    module: LightningModule = bind(_settings_of_module(run, planned))(context)
    return module


def _settings_of_module(run: Run, planned: PlannedStage) -> dict[str, Any]:
    """Learning rates as ``scale_lr`` has them for all processes together; their batch is told."""
    stage, rule = run.settings_of(planned), run.config.get("scale_lr", "none")
    if run.processes > 1 and run.strategy.is_global_zero:
        batch = run.data.batch_size(stage)
        log.info(
            "%s: %d processes x batch_size %d = %d photographs or pairs a step; learning rates x %.3g",
            planned.name,
            run.processes,
            batch,
            run.processes * batch,
            SCALINGS[rule](run.processes),
        )
    return scaled_rates(stage["module"], rule, run.processes)


def _trainer(run: Run, planned: PlannedStage, last: LastValidation) -> Trainer:
    if run.logger is not None:
        run.logger.offset = run.state.offset
    before = None if planned.index == 1 else run.weights_file(run.plan[planned.index - 2])
    watchers: list[Callback] = [NoteData(run.run_dir, planned.folder, run.logger), last]
    monitor = run.config.get("monitor")
    if run.trial is not None and monitor is not None:
        watchers.append(Pruning(run.trial, monitor, run.state.offset))
    if run.trial is not None:
        watchers.append(GiveWay(run.trial, run.config["checkpoint_every"]))
    folder = run.folder(planned)
    return stage_trainer(run.config, planned, folder, before, run.logger, run.signals, watchers)


def _record(
    run: Run, planned: PlannedStage, weights: Weights, steps: int, validated: Mapping[str, float]
) -> None:
    """Weights first, then the state that vouches for them, then the checkpoints can go."""
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    run.state.finished.append(FinishedStage(planned.index, planned.name, steps, dict(validated), ended))
    metadata = {
        "stage": planned.name,
        "index": planned.index,
        "round": planned.round,
        "steps": steps,
        "clip": {role: clip.identity.as_dict() for role, clip in run.clip.items()},
    }

    def write() -> None:
        write_weights(run.weights_file(planned), weights, metadata)
        write_state(run.run_dir, run.state)
        shutil.rmtree(run.folder(planned) / "checkpoints", ignore_errors=True)

    from_rank_0(run.strategy, write)


def _on_cpu(weights: Weights) -> Weights:
    return {
        group: {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
        for group, tensors in weights.items()
    }

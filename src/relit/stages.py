"""Run, skip and resume a list of stages, each one plain ``Trainer.fit`` over one LightningModule.

A stage's module is built by ``module(context)`` from a :class:`~relit.stage_context.StageContext` and gives
back what it learned through ``handover()``, a :data:`~relit.weights.Weights`. Handed-over weights accumulate:
a later stage sees, and may replace, what earlier ones gave.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.strategies import Strategy
from omegaconf import DictConfig, OmegaConf

from relit.atomic import atomic_write
from relit.clip_roles import build_clips
from relit.configured_network import build_network
from relit.exit_status import exit_status
from relit.loggers import RunLogger
from relit.lost_process import losses_named
from relit.plan import expand_plan
from relit.processes import end_together, fail_together, from_rank_0, join_processes
from relit.provenance import begin_sitting
from relit.pruning import Trial
from relit.quiet import quieten
from relit.run import Run
from relit.run_finish import finish_run
from relit.run_lock import RunLock
from relit.run_opening import open_logger, open_on_all_ranks
from relit.stage_data import StageData
from relit.stage_training import train_stage
from relit.start_weights import weights_to_evaluate, weights_to_train
from relit.stop_signals import Stopped, StopSignals
from relit.targets import resolve_target

log = logging.getLogger(__name__)


def run_stages(cfg: DictConfig, trial: Trial | None = None) -> dict[str, float]:
    """Train every stage of ``cfg.plan`` that is not finished yet, then call ``cfg.finish``.

    With ``train=false`` nothing is trained: ``cfg.finish`` gets the finished run's weights, or those of
    ``cfg.start`` where the directory holds no run.

    Args:
        cfg: the composed configuration (``conf/train.yaml``), checked by :mod:`relit.checks`.
        trial: the run as one of a sweep's, told the validation metric that ``cfg.monitor`` names.

    Returns:
        What the stages were last validated by (``val/...``) and the metrics that the ``finish`` callables
        returned, merged; the same on every rank.

    Raises:
        ConfigurationError: the run directory holds a run with other settings or is in use, or an input is
            wrong.
        TrialPruned: ``trial`` gave the run up, or another worker has taken it over.
        Stopped: a signal ended the run.
    """
    config = cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=True))
    if config["threads"] is not None:
        torch.set_num_threads(config["threads"])
    quieten()
    lock = RunLock(Path(config["run_dir"]))
    with StopSignals() as signals:
        strategy = join_processes(config["trainer"], signals)
        try:
            return _open_and_run(config, strategy, lock, signals, trial)
        except Exception as error:
            fail_together(error, strategy)
            raise
        finally:
            lock.release()


def _open_and_run(
    config: dict[str, Any], strategy: Strategy, lock: RunLock, signals: StopSignals, trial: Trial | None
) -> dict[str, float]:
    run_dir, plan = Path(config["run_dir"]), expand_plan(config["plan"])
    logger: RunLogger | None = None
    exit_code, interrupted = 0, False
    try:
        with signals.explaining_losses(), losses_named():
            state = open_on_all_ranks(strategy, lock, run_dir, config)
            logger = open_logger(config, run_dir, state)
            data = StageData(config["data"])
            if config["train"] and len(state.finished) < len(plan):
                # before a CLIP is fetched: a wrong path is told at once
                data.load(config["stage"][plan[len(state.finished)].name])
            clip = build_clips(config.get("clip") or {})
            run = Run(config, run_dir, plan, state, strategy, logger, signals, clip, data, trial)
            return _train_and_finish(run) if config["train"] else finish_run(run, *weights_to_evaluate(run))
    except BaseException as error:
        exit_code = exit_status(error)
        if interrupted := isinstance(error, Stopped):
            end_together(error, signals, strategy)
        raise
    finally:
        if logger is not None:
            logger.close(exit_code, interrupted)


def _train_and_finish(run: Run) -> dict[str, float]:
    _check_modules(run)
    from_rank_0(run.strategy, partial(_begin_sitting, run))
    weights = weights_to_train(run)
    _leave_if_asked(run)
    for planned in run.plan[len(run.state.finished) :]:
        weights = train_stage(run, planned, weights)
        _leave_if_asked(run)
    return finish_run(run, weights, run.state.offset)


def _begin_sitting(run: Run) -> None:
    atomic_write(run.run_dir / "config.yaml", OmegaConf.to_yaml(run.config).encode())
    begin_sitting(run.run_dir, run.logger, run.strategy.root_device, run.processes)
    if done := len(run.state.finished):
        log.info("Continuing %s: %d of %d stages are done.", run.run_dir, done, len(run.plan))


def _check_modules(run: Run) -> None:
    """Let the network and each stage's module refuse their settings now, not when their turn comes."""
    if run.config.get("network") is not None:
        build_network(run.config)
    for planned in run.plan:
        settings = run.settings_of(planned)["module"]
        check = getattr(resolve_target(settings["_target_"]), "check", None)
        if check is not None:
            check(f"stage.{planned.name}.module", settings, planned.round, run.clip)


def _leave_if_asked(run: Run) -> None:
    """Before a stage, or after the last one, if a signal has come in to any process."""
    run.signals.deferred = run.processes > 1
    number = run.signals.agreed(run.strategy)
    if number is not None:
        done = run.state.finished
        raise Stopped(number, f"stage {done[-1].name}" if done else "the beginning of the run")

"""After the last stage: call what ``finish`` names, and log what comes of it."""

from __future__ import annotations

from functools import partial

from relit.configured_network import build_network
from relit.instantiation import bind
from relit.run import Run
from relit.run_context import RunContext
from relit.weights import WEIGHTS_FILE, Weights


def finish_run(run: Run, weights: Weights, steps: int) -> dict[str, float]:
    """Call every node of ``finish`` with the run's final ``weights``, in every process.

    Args:
        run: the run.
        weights: all that was handed over.
        steps: how many they were trained.

    Returns:
        What the stages were last validated by, and the metrics that the callables returned, merged; rank 0's
        on every rank.

    Raises:
        Stopped: by a signal, which from here on ends this process where it is.
    """
    # long, and nothing of it is lost that is not made again
    run.signals.end_at_once()
    context = _context(run, weights, steps)
    if run.logger is not None:
        run.logger.offset = steps
    metrics: dict[str, float] = {}
    for node in run.config.get("finish") or []:
        metrics.update(bind(node)(context) or {})
    if run.logger is not None and metrics and run.strategy.is_global_zero:
        run.logger.log_metrics(metrics)
        run.logger.save()
    _log_results(run, steps)
    return {**run.state.validated, **run.strategy.broadcast(metrics)}


def _context(run: Run, weights: Weights, steps: int) -> RunContext:
    return RunContext(
        cfg=run.config,
        run_dir=run.run_dir,
        weights=weights,
        datamodule=run.data.of(run.settings_of(run.plan[-1])),
        clip=run.clip,
        network=partial(build_network, run.config),
        device=run.strategy.root_device,
        steps=steps,
        logger=run.logger,
        rank=getattr(run.strategy, "global_rank", 0),
        world_size=run.processes,
        trained=run.config["train"],
    )


def _log_results(run: Run, steps: int) -> None:
    """Hand the finished run's pictures and weights to the logger."""
    if run.logger is None or not run.strategy.is_global_zero:
        return
    run.logger.log_samples(run.run_dir / "samples")
    weights = run.run_dir / WEIGHTS_FILE
    if run.config["train"] and weights.is_file():
        run.logger.log_weights(weights, "final", {"steps": steps, "seed": run.config["seed"]})

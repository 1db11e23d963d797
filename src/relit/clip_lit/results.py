"""What a CLIP-LIT run leaves behind: weights to enhance with, figures with their protocol, and pictures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from relit.clip import FrozenClip
from relit.clip_lit.judging import (
    enhancer,
    judge,
    judged,
    photographs_to_judge,
    with_result,
)
from relit.clip_lit.scores import LONG_SIDE
from relit.data.photo import write_png
from relit.grids import before_after
from relit.measurement import measurement_of_run
from relit.measures import in_order, measure
from relit.metrics_file import write_metrics
from relit.protocols import RGB8, Protocol
from relit.run_scores import Scored, means, score_all, write_scores
from relit.weights import WEIGHTS_FILE, write_weights

if TYPE_CHECKING:
    from relit.data.unpaired import UnpairedPhotos
    from relit.run_context import RunContext

log = logging.getLogger(__name__)


def save_weights(context: RunContext) -> None:
    """Write ``weights.safetensors``: enhancer, prompts, the network's configuration, the CLIPs' names."""
    if context.rank != 0 or not context.trained:
        return
    kept: dict[str, dict[str, Tensor]] = {
        name: context.weights[name] for name in ("enhancer", "prompts") if name in context.weights
    }
    clips = {role: cast("FrozenClip", clip).identity.as_dict() for role, clip in context.clip.items()}
    metadata = {
        "method": "clip_lit",
        "network": context.cfg["network"],
        "clip": clips,
        "run": context.cfg["name"],
        "steps": context.steps,
    }
    write_weights(context.run_dir / WEIGHTS_FILE, kept, metadata)
    log.info("Weights: %s", context.run_dir / WEIGHTS_FILE)


def evaluate(context: RunContext, samples: int, also: Sequence[str] = ()) -> dict[str, float]:
    """Enhance the test photographs, or backlit training ones where there is no test set; report the figures.

    The ranks share the photographs. Writes ``metrics.json``, the figures of each photograph to
    ``scores.csv``, and for the first ``samples`` photographs grids before | after | reference in
    ``samples/``.

    Args:
        context: the finished run.
        samples: how many photographs are shown.
        also: metrics besides PSNR, SSIM and S: ``lpips``, ``musiq``; one without weights is named in
            ``metrics.json`` as ``unavailable``.

    Returns:
        ``psnr`` and ``ssim`` of the results, ``input_psnr`` and ``input_ssim``, and ``S``, ``input_S``: the
        mean negative similarity. What needs references is left out where there are none, and S where the run
        has no prompts.
    """
    network, similarity = enhancer(context, context.weights), judge(context)
    photographs = photographs_to_judge(context, samples)
    protocol = _protocol(context, photographs.data)
    measurement = measurement_of_run(protocol, also, context.device)

    def measure(index: int) -> Scored:
        name, found = photographs.at(index)
        pictures = with_result(network, found)
        if index < samples:
            write_png(context.run_dir / "samples" / f"{name}.png", before_after(pictures))
        return Scored(index, name, "", judged(pictures, measurement, similarity))

    scores = score_all(context, photographs.count, measure)
    scale = None if similarity is None else similarity.logit_scale
    report = {
        "protocol": _described(context, protocol, scale),
        "seed": context.cfg["seed"],
        "steps": context.steps,
        "data": photographs.data,
        "images": len(scores),
        **({"unavailable": measurement.unavailable} if measurement.unavailable else {}),
        **means(scores),
    }
    if context.rank == 0:
        figures = write_metrics(context.run_dir, report)
        each = write_scores(context.run_dir, scores, protocol)
        log.info("%s", table(report))
        log.info("Pictures: %s  Figures: %s  Of each: %s", context.run_dir / "samples", figures, each)
    return _flat(report)


def table(report: dict[str, Any]) -> str:
    """Input against result, as text: one row each, with the protocol below."""
    columns = in_order(set(report.get("result", {})))
    lines = ["", "  ".join(["photographs".ljust(12), *(measure(c).head.rjust(16) for c in columns)])]
    for row in ("input", "result"):
        cells = [f"{report[row][c]:.{measure(c).digits}f}" for c in columns]
        lines.append("  ".join([row.ljust(12), *(cell.rjust(16) for cell in cells)]))
    lines.append(
        f"{report['images']} photographs ({report['data']}), protocol {report['protocol']['name']}, "
        f"seed {report['seed']}, {report['steps']} steps"
    )
    return "\n".join(lines)


def _protocol(context: RunContext, data: str) -> Protocol:
    return cast("UnpairedPhotos", context.datamodule).protocol if data == "test" else RGB8


def _described(context: RunContext, protocol: Protocol, logit_scale: float | None) -> dict[str, Any]:
    """By which recipe the figures were measured."""
    return {
        "name": protocol.name,
        "description": protocol.description,
        "test_size": cast("UnpairedPhotos", context.datamodule).test_size,
        "long_side": LONG_SIDE,
        "logit_scale": logit_scale,
    }


def _flat(report: dict[str, Any]) -> dict[str, float]:
    rows = {"": report.get("result", {}), "input_": report.get("input", {})}
    return {prefix + name: value for prefix, row in rows.items() for name, value in row.items()}

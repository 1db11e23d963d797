"""What a CLIP-LIT run leaves behind: weights to enhance with, figures with their protocol, and pictures."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from relit.clip import FrozenClip
from relit.clip_lit.judging import (
    enhancer,
    judge,
    photographs_to_judge,
    with_result,
)
from relit.clip_lit.scores import LONG_SIDE, Scores
from relit.data.photo import write_png
from relit.grids import before_after
from relit.metrics_file import write_metrics
from relit.protocols import RGB8
from relit.weights import write_weights

if TYPE_CHECKING:
    from relit.data.unpaired import UnpairedPhotos
    from relit.stages import RunContext

log = logging.getLogger(__name__)

WEIGHTS_FILE = "weights.safetensors"


def save_weights(context: RunContext) -> None:
    """Write ``weights.safetensors``: enhancer, prompts, the network's configuration, the CLIPs' names."""
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


def evaluate(context: RunContext, samples: int) -> dict[str, float]:
    """Enhance the test photographs, or backlit training ones where there is no test set; report the figures.

    Writes ``metrics.json`` and, for the first ``samples`` photographs, grids before | after | reference in
    ``samples/``.

    Returns:
        ``psnr`` and ``ssim`` of the results, ``input_psnr`` and ``input_ssim``, and ``S``, ``input_S``: the
        mean negative similarity. What needs references is left out where there are none, and S where the run
        has no prompts.
    """
    network, similarity = enhancer(context, context.weights), judge(context)
    scores = Scores(over_ranks=False).to(context.device)
    data, photographs = photographs_to_judge(context, samples)
    images = 0
    for images, (name, found) in enumerate(photographs, start=1):
        pictures = with_result(network, found)
        scores.add(pictures, similarity)
        if images <= samples:
            write_png(context.run_dir / "samples" / f"{name}.png", before_after(pictures))
    scale = None if similarity is None else similarity.logit_scale
    report = {**_protocol(context, data, scale), "data": data, "images": images, **scores.compute()}
    figures = write_metrics(context.run_dir, report)
    log.info("%s", table(report))
    log.info(
        "Pictures: %s  Figures: %s  Weights: %s",
        *(context.run_dir / "samples", figures, context.run_dir / WEIGHTS_FILE),
    )
    return _flat(report)


def table(report: dict[str, Any]) -> str:
    """Input against result, as text: one row each, with the protocol below."""
    columns = [name for name in ("psnr", "ssim", "S") if name in report.get("result", {})]
    heads = {"psnr": "PSNR (dB)", "ssim": "SSIM", "S": "S (0 = well lit)"}
    lines = ["", "  ".join(["photographs".ljust(12), *(heads[c].rjust(16) for c in columns)])]
    for row in ("input", "result"):
        cells = [f"{report[row][c]:.2f}" if c == "psnr" else f"{report[row][c]:.3f}" for c in columns]
        lines.append("  ".join([row.ljust(12), *(cell.rjust(16) for cell in cells)]))
    lines.append(
        f"{report['images']} photographs ({report['data']}), protocol {report['protocol']['name']}, "
        f"seed {report['seed']}, {report['steps']} steps"
    )
    return "\n".join(lines)


def _protocol(context: RunContext, data: str, logit_scale: float | None) -> dict[str, Any]:
    """By which recipe, on which run the figures were measured."""
    photos = cast("UnpairedPhotos", context.datamodule)
    protocol = photos.protocol if data == "test" else RGB8
    return {
        "protocol": {
            "name": protocol.name,
            "description": protocol.description,
            "test_size": photos.test_size,
            "long_side": LONG_SIDE,
            "logit_scale": logit_scale,
        },
        "seed": context.cfg["seed"],
        "steps": context.steps,
    }


def _flat(report: dict[str, Any]) -> dict[str, float]:
    rows = {"": report.get("result", {}), "input_": report.get("input", {})}
    return {prefix + name: value for prefix, row in rows.items() for name, value in row.items()}

"""What a CLIP-LIT run leaves behind: weights to enhance with, figures with their protocol, and pictures."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from relit.atomic import atomic_write
from relit.clip import FrozenClip
from relit.clip_lit.losses import negative_similarity
from relit.clip_lit.modules import text_features
from relit.clip_lit.network import enhance
from relit.data.photo import resize_photo, write_png
from relit.grids import comparison
from relit.metrics import PairMetrics, round_to_8_bits
from relit.plan import expand_plan
from relit.weights import write_weights

if TYPE_CHECKING:
    from relit.data.modules import UnpairedPhotos
    from relit.stages import RunContext

log = logging.getLogger(__name__)

WEIGHTS_FILE = "weights.safetensors"
LONG_SIDE = 2048
"""Larger test photographs are reduced to this long side, as in the paper: 1.5 KB of memory a pixel."""


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
        mean negative similarity; what needs references is left out where there are none.
    """
    photos = cast("UnpairedPhotos", context.datamodule)
    photos.setup("test")
    scores = _Scores(context)
    for number, (name, image, reference) in enumerate(_photographs(photos, samples)):
        result = scores.add(
            image.to(context.device), None if reference is None else reference.to(context.device)
        )
        if number < samples:
            panels = [image, result.cpu(), *([] if reference is None else [reference])]
            write_png(context.run_dir / "samples" / f"{name}.png", comparison([panel[0] for panel in panels]))
    report = scores.report(photos)
    atomic_write(
        context.run_dir / "metrics.json", json.dumps(_plain(report), indent=2, allow_nan=False).encode()
    )
    log.info("%s", table(report))
    log.info(
        "Pictures: %s  Figures: %s  Weights: %s",
        context.run_dir / "samples",
        context.run_dir / "metrics.json",
        context.run_dir / WEIGHTS_FILE,
    )
    return _flat(report)


def table(report: dict[str, Any]) -> str:
    """Input against result, as text: one row each, with the protocol below."""
    columns = [name for name in ("psnr", "ssim", "S") if name in report["result"]]
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


class _Scores:
    """Enhances photographs and gathers the figures of inputs and results."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self.network = context.network()
        self.network.load_state_dict(context.weights["enhancer"])
        self.network.eval().to(context.device)
        self.clip: FrozenClip = context.clip["prompts"]
        self.clip.to(context.device)
        self.text, self.logit_scale = _prompts_of_run(context, self.clip)
        self.paired = {name: PairMetrics(over_ranks=False) for name in ("input", "result")}
        self.similarity: dict[str, list[float]] = {"input": [], "result": [], "reference": []}
        self.references = 0

    @torch.no_grad()
    def add(self, image: Tensor, reference: Tensor | None) -> Tensor:
        """Enhance one photograph (1, 3, H, W) in [0, 1]; return the result, rounded to 8 bits."""
        result = round_to_8_bits(enhance(image, self.network(image)))
        found = {"input": image, "result": result}
        for name, picture in found.items():
            self._similarity(name, picture)
            if reference is not None:
                self.paired[name].update(picture.cpu(), reference.cpu())
        if reference is not None:
            self._similarity("reference", reference)
            self.references += 1
        return result

    def _similarity(self, name: str, picture: Tensor) -> None:
        score = negative_similarity(self.clip.encode_image(picture), self.text, self.logit_scale)
        self.similarity[name].append(float(score))

    def report(self, photos: UnpairedPhotos) -> dict[str, Any]:
        cfg, protocol = self.context.cfg, self.paired["result"].protocol
        rows: dict[str, dict[str, float]] = {}
        for name, scores in self.similarity.items():
            if scores:
                rows[name] = {"S": math.fsum(scores) / len(scores)}
        if self.references:
            for name, metrics in self.paired.items():
                rows[name] |= {key: float(value) for key, value in metrics.compute().items()}
        return {
            "protocol": {
                "name": protocol.name,
                "description": protocol.description,
                "test_size": photos.test_size,
                "long_side": LONG_SIDE,
                "logit_scale": self.logit_scale,
            },
            "data": "test" if photos.test is not None else "backlit training photographs, no references",
            "images": len(self.similarity["result"]),
            "seed": cfg["seed"],
            "steps": self.context.steps,
            **rows,
        }


def _photographs(photos: UnpairedPhotos, samples: int) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Name, input and reference (1, 3, H, W) in [0, 1] of all test pairs, or of the first training photos."""
    if photos.test is None:
        # one at least, or there would be nothing to report
        for i in range(min(max(samples, 1), len(photos.backlit))):
            yield photos.backlit.names[i], photos.backlit[i][None].float() / 255, None
        return
    for i in range(len(photos.test)):
        pair = photos.test[i]
        reference = _bounded(pair["reference"]) if "reference" in pair else None
        yield Path(pair["name"]).name, _bounded(pair["input"]), reference


def _bounded(photo: Tensor) -> Tensor:
    """A photograph, uint8 (3, H, W), as (1, 3, H, W) in [0, 1]; above LONG_SIDE reduced to it."""
    height, width = photo.shape[-2:]
    if max(height, width) > LONG_SIDE:
        scale = LONG_SIDE / max(height, width)
        photo = resize_photo(photo, (round(height * scale), round(width * scale)))
    return photo[None].float() / 255


def _prompts_of_run(context: RunContext, clip: FrozenClip) -> tuple[Tensor, float]:
    """Features of the prompts of the last stage that has some, learned or fixed, and its logit scale."""
    from relit.stages import build

    stages = [context.cfg["stage"][planned.name]["module"] for planned in expand_plan(context.cfg["plan"])]
    module = next(module for module in reversed(stages) if "prompts" in module)
    return text_features(clip, build(module["prompts"]), context.weights), float(module["logit_scale"])


def _plain(value: Any) -> Any:
    """What JSON can hold: the infinite PSNR of equal images becomes null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flat(report: dict[str, Any]) -> dict[str, float]:
    return {**report["result"], **{f"input_{key}": value for key, value in report["input"].items()}}

"""What a CLIP-RestoreX run leaves behind: weights, figures with their protocol, and pictures."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from relit.clip_restorex.correction import PARTS, Correction, load_parts, missing_parts
from relit.clip_restorex.labelled_scores import MEASURED, as_text, by_label
from relit.clip_restorex.model import RestoreX
from relit.data.photo import write_png
from relit.grids import before_after
from relit.measurement import measurement_of_run
from relit.metrics_file import write_metrics
from relit.protocols import RGB8
from relit.run_scores import Scored, compared, score_all, write_scores
from relit.validation_pictures import spread
from relit.weights import WEIGHTS_FILE, load_network_weights, write_weights

if TYPE_CHECKING:
    from relit.data.paired import PairedPhotos
    from relit.data.sets import Pairs
    from relit.run_context import RunContext

log = logging.getLogger(__name__)

Corrected = Callable[[Tensor, Tensor | None], dict[str, Tensor]]


def save_weights(context: RunContext) -> None:
    """Write ``weights.safetensors``: all parts, stage 1's converter, the configuration, the CLIPs' names.

    Nothing is written where the plan left a part untrained, as one that ends with stage 1.
    """
    if context.rank != 0 or not context.trained:
        return
    groups = (*PARTS, "reference_priors")
    metadata = {
        "method": "clip_restorex",
        "network": context.cfg["network"],
        "clip": {role: clip.described() for role, clip in context.clip.items()},
        "run": context.cfg["name"],
        "steps": context.steps,
    }
    kept = {name: context.weights[name] for name in groups if name in context.weights}
    if missing := missing_parts(cast("RestoreX", context.network()), kept):
        log.info(
            "No %s: the plan trained no %s. What it did train is in %s.",
            *(WEIGHTS_FILE, " and no ".join(missing), context.run_dir / "stages"),
        )
        return
    write_weights(context.run_dir / WEIGHTS_FILE, kept, metadata)
    log.info("Weights: %s", context.run_dir / WEIGHTS_FILE)


def evaluate(
    context: RunContext,
    samples: int,
    by_reference_priors: bool = True,
    also: Sequence[str] = (),
) -> dict[str, float]:
    """Correct the test photographs, or those held out for validation, and report the figures.

    The ranks share the photographs. Writes ``metrics.json``, the figures of each photograph to
    ``scores.csv``, and grids before | after | reference in ``samples/``. Figures are means over all
    photographs, and over those of each label. ``by_reference_priors`` is what the reference's own priors give
    in place of restored ones: no result, for nobody has them. A run that ends with stage 1 has no other.

    Args:
        context: the finished run.
        samples: how many photographs, spread over all of them, are shown.
        by_reference_priors: whether those figures are wanted, for twice the time.
        also: metrics besides PSNR and SSIM: ``lpips``, ``musiq``; one without weights is named in
            ``metrics.json`` as ``unavailable``.

    Returns:
        ``psnr`` and ``ssim`` of the results, ``input_psnr``, ``input_ssim``, and those of each label, such as
        ``under_psnr``. Empty where there is nothing to measure, or to measure on.
    """
    if "restormer" not in context.weights:
        log.info("No figures: the plan trained no restormer.")
        return {}
    photos = cast("PairedPhotos", context.datamodule)
    data, pairs = pairs_to_measure(photos)
    if pairs is None or not len(pairs):
        log.info("No figures: data has neither test pairs nor data.held_out scenes to validate on.")
        return {}
    shown = spread(samples, len(pairs))
    protocol = photos.protocol if data == "test" else RGB8
    measurement = measurement_of_run(protocol, also, context.device)
    correct = _corrector(context, by_reference_priors)

    def measure(index: int) -> Scored:
        name, label, pictures = pictures_of(pairs, index, context.device)
        pictures |= correct(pictures["input"], pictures.get("reference"))
        if index in shown:
            write_png(context.run_dir / "samples" / f"{name}.png", before_after(pictures))
        return Scored(index, name, label, compared(measurement, pictures, MEASURED))

    scores = score_all(context, len(pairs), measure)
    report: dict[str, Any] = {
        "protocol": {
            "name": protocol.name,
            "description": protocol.description,
            "test_size": photos.test_size,
        },
        "seed": context.cfg["seed"],
        "steps": context.steps,
        "data": data,
        "images": len(scores),
        **({"unavailable": measurement.unavailable} if measurement.unavailable else {}),
        **by_label(scores),
    }
    if context.rank == 0:
        figures = write_metrics(context.run_dir, report)
        each = write_scores(context.run_dir, scores, protocol)
        log.info("%s", as_text(report))
        log.info("Pictures: %s  Figures: %s  Of each: %s", context.run_dir / "samples", figures, each)
    return _flat(report)


def _corrector(context: RunContext, by_reference_priors: bool) -> Corrected:
    """What there is of an input and its reference: the result, and the one by the reference's priors."""
    network = cast("RestoreX", context.network())
    complete = not missing_parts(network, context.weights)
    network = load_parts(network, context.weights, "the weights handed over")
    network = network.to(context.device).to(memory_format=torch.channels_last)
    clip = context.clip.get("prior")
    correction = Correction(network, None if clip is None else clip.to(context.device))
    reference_priors = None
    if by_reference_priors and network.priors is not None and "reference_priors" in context.weights:
        reference_priors = copy.deepcopy(network.priors)
        load_network_weights(
            reference_priors, context.weights["reference_priors"], "reference_priors handed over"
        )

    def correct(images: Tensor, reference: Tensor | None) -> dict[str, Tensor]:
        found = {"result": correction(images)} if complete else {}
        if reference is not None and reference_priors is not None:
            found["by_reference_priors"] = correction.by_priors_of(reference_priors, reference, images)
        return found

    return correct


def pairs_to_measure(photos: PairedPhotos) -> tuple[str, Pairs | None]:
    """``test`` and the test pairs; where there are none, ``validation`` and those held out, if any."""
    photos.setup("test")
    return ("test", photos.test) if photos.test is not None else ("validation", photos.validation)


def pictures_of(pairs: Pairs, index: int, device: torch.device) -> tuple[str, str, dict[str, Tensor]]:
    """Name, label, and (1, 3, H, W) in [0, 1] of input and reference."""
    pair = pairs[index]
    pictures = {"input": pair["input"][None].to(device) / 255}
    if "reference" in pair:
        pictures["reference"] = pair["reference"][None].to(device) / 255
    return Path(pair["name"]).name, pair.get("label") or "", pictures


def _flat(report: dict[str, Any]) -> dict[str, float]:
    rows = {"": report["result"], "input_": report["input"]}
    rows |= {f"{label}_": row.get("result", {}) for label, row in report.get("by_label", {}).items()}
    return {prefix + name: value for prefix, row in rows.items() for name, value in row.items()}

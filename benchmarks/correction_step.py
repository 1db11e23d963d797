"""What CLIP-RestoreX costs beside a plain Restormer of its size, at the size of the paper.

Steps are the stages' own, on one pair of crops, without L_SAP on either side: stage 2 asks CLIP about input
and reference, converts and restores priors, and modulates. What L_SAP costs, which is no matter of priors, is
measured on its own. A photograph is corrected as a user's is, its priors included.

Gradient checkpointing trades time for memory: both are measured, the memory in processes of their own.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks.process_memory import available, peak_of
from benchmarks.stand_ins import random_clip, random_pixels
from benchmarks.tables import Table, costs
from benchmarks.timing import adam_step, interleaved
from relit.clip import FrozenClip
from relit.clip_restorex.correction import Correction
from relit.clip_restorex.denoisers import ComplexDenoiser
from relit.clip_restorex.diffusion import PriorDiffusion
from relit.clip_restorex.losses import StructureAndPerceptionLoss
from relit.clip_restorex.model import RestoreX
from relit.clip_restorex.prior import ClipPriors
from relit.clip_restorex.restormer import Restormer
from relit.clip_restorex.restormer_stages import (
    PlainRestoration,
    ReferencePriors,
    RestoredPriors,
    RestormerStage,
)
from relit.memory import keep_large_allocations
from relit.stage_context import StageContext

CLIP = "ViT-B-32"
CROP, LARGE_CROP = 224, 512
"""Sides of the crops of stage 1, which are timed, and of stage 2, whose memory is measured, too."""
PHOTO = 512
"""Side of what is corrected."""
LEARNING_RATE = 2e-4


def network(clip: FrozenClip | None, **restormer: Any) -> RestoreX:
    """CLIP-RestoreX as configured for the paper; without a CLIP the plain Restormer, ``restormer`` aside."""
    body = partial(Restormer, **restormer)
    if clip is None:
        built = RestoreX(body, None, None)
    else:
        diffusion = partial(PriorDiffusion, partial(ComplexDenoiser, hidden=256, layers=2))
        built = RestoreX(body, ClipPriors(clip.block_width), diffusion)
    return built.to(memory_format=torch.channels_last)


def stage(
    kind: Callable[..., RestormerStage], clip: FrozenClip, sap: bool = False, **restormer: Any
) -> RestormerStage:
    """A stage about to train; ``sap`` adds L_SAP, ``restormer`` are other settings of the network."""
    plain = kind is PlainRestoration
    build = partial(network, None if plain else clip, **restormer)
    priors = build().priors
    context = StageContext(
        name="correction",
        index=1,
        count=1,
        round=0,
        seed=0,
        weights={} if priors is None else {"reference_priors": priors.state_dict()},
        run_dir=Path(),
        clip={"sap": clip} if plain else {"prior": clip, "sap": clip},
        network=build,
    )
    loss = StructureAndPerceptionLoss() if sap else None
    options = {"noise_weight": 0.0} if kind is RestoredPriors else {}
    return kind(context, partial(torch.optim.Adam, lr=LEARNING_RATE), None, loss, **options).train()


def random_pairs(count: int, size: int) -> dict[str, Tensor]:
    """What the data loader hands a stage: ``count`` pairs of ``size`` pixels and their positions."""
    inputs, reference = random_pixels(2 * count, size).chunk(2)
    return {"input": inputs, "reference": reference, "position": torch.arange(count)}


def stage_loss(trained: RestormerStage, batch: dict[str, Tensor]) -> Tensor:
    """The loss of the stage's own training step."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*self\.log.*")  # nobody listens: there is no Trainer
        return cast("Tensor", trained.training_step(batch, 0))


def run(repetitions: int = 3) -> list[Table]:
    """Seconds of each comparison, and the memory of a step."""
    keep_large_allocations()  # as train.py does
    clip = random_clip(CLIP)
    tables = [
        costs("What CLIP-RestoreX adds", [*training(clip, repetitions), *correction(clip, repetitions)])
    ]
    # in processes of their own, and none of this one's memory beside them
    del clip
    return [*memory(), *tables]


def training(clip: FrozenClip, repetitions: int) -> list[tuple[str, float, float, str]]:
    """Seconds of steps at :data:`CROP` pixels, without and with what the row is named after."""
    batch = random_pairs(1, CROP)
    stages = {
        "plain": stage(PlainRestoration, clip),
        "stage 1": stage(ReferencePriors, clip),
        "stage 2": stage(RestoredPriors, clip),
        "with L_SAP": stage(RestoredPriors, clip, sap=True),
        "checkpointed": stage(RestoredPriors, clip, checkpointing=True),
    }
    seconds = interleaved({name: _step(trained, batch) for name, trained in stages.items()}, repetitions)
    return [
        ("stage 1's step beside a plain Restormer's", seconds["plain"], seconds["stage 1"], ""),
        ("stage 2's step beside a plain Restormer's", seconds["plain"], seconds["stage 2"], "at most 1.35"),
        ("stage 2's step with L_SAP", seconds["stage 2"], seconds["with L_SAP"], ""),
        ("stage 2's step with checkpointing", seconds["stage 2"], seconds["checkpointed"], ""),
    ]


def correction(clip: FrozenClip, repetitions: int) -> list[tuple[str, float, float, str]]:
    """Seconds to correct a photograph of :data:`PHOTO` pixels."""
    photo = random_pixels(1, PHOTO) / 255
    ways = {"plain": Correction(network(None), None), "by priors": Correction(network(clip), clip)}
    seconds = interleaved({name: partial(way, photo) for name, way in ways.items()}, repetitions)
    return [("a photograph corrected beside plainly", seconds["plain"], seconds["by priors"], "")]


def memory() -> list[Table]:
    """What a step of stage 2 takes, by the side of its crops; no table where the system does not tell."""
    if available() is None:
        return []
    ways = (True, False)
    smaller = [peak_of(one_step, CROP, checkpointing) for checkpointing in ways]
    rows = {
        f"{CROP} pixels": tuple(smaller),
        f"{LARGE_CROP} pixels": tuple(map(_larger, smaller, ways)),
    }
    columns = ("with checkpointing, MiB", "without, MiB")
    return [Table("Peak memory of a step of stage 2 (-: more than is free)", columns, rows)]


def _larger(smaller: float, checkpointing: bool) -> float | None:
    """MiB at :data:`LARGE_CROP`, given those at :data:`CROP`, from which it is foreseen whether it fits."""
    free = available()
    if free is None or smaller * (LARGE_CROP / CROP) ** 2 > free:
        return None
    return peak_of(one_step, LARGE_CROP, checkpointing)


def one_step(side: int, checkpointing: bool) -> None:
    """A step of stage 2 on one pair of crops of ``side`` pixels."""
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns of random weights, which are meant
    keep_large_allocations()
    trained = stage(RestoredPriors, random_clip(CLIP), checkpointing=checkpointing)
    _step(trained, random_pairs(1, side))()


def _step(trained: RestormerStage, batch: dict[str, Tensor]) -> Callable[[], None]:
    return adam_step(trained, lambda: stage_loss(trained, batch), LEARNING_RATE)

"""Prompt initialisation, CLIP-LIT Eq. (1), at the size of the release.

Straightforward: every step encodes its photographs one by one, and the text tower reads all 77 positions.
Augmentation and resizing, which a data loader may do meanwhile, are left out of it.

Relit: features come from the bank, and the text tower reads the 18 positions that can matter. The stage also
pays for building the bank and for its refreshes, augmentation and resizing included.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor, nn

from benchmarks.stand_ins import random_clip, random_photos, random_pixels
from benchmarks.tables import Table, speedups
from benchmarks.timing import adam_step, interleaved
from relit.clip import FrozenClip
from relit.clip_lit.losses import prompt_initialisation_loss
from relit.clip_lit.prompts import PromptPair
from relit.data.augmentation import Augmentation
from relit.data.sets import Photos
from relit.feature_bank import FeatureBank
from relit.fresh_features import BATCH
from relit.keyed import keyed_generator

STEPS, PHOTOS, SIZE, BATCH_SIZE = 8_000, 380 + 384, 256, 16
VIEWS, REFRESH_EVERY = 8, 1_000
LEARNING_RATE = 5e-6
CPU = torch.device("cpu")


class Straightforward(nn.Module):
    """A prompt pair over the whole context, (2, 77, W), that starts as ``pair``, and its loss.

    Args:
        clip: encodes texts and photographs.
        pair: the prompts to start from.
    """

    def __init__(self, clip: FrozenClip, pair: PromptPair) -> None:
        super().__init__()
        self.clip = clip
        start = pair.embeddings.detach()
        empty, _ = clip.token_embeddings([""])
        behind = empty[:, start.shape[1] :].expand(2, -1, -1)
        self.embeddings = nn.Parameter(torch.cat([start, behind], dim=1))
        self.end = torch.full((2,), start.shape[1] - 1)

    def forward(self, images: Tensor) -> Tensor:
        """The loss of photographs (B, 3, H, W) in [0, 1], every other one well lit."""
        with torch.no_grad():
            features = torch.cat([self.clip.encode_image(image[None]) for image in images])
        text = self.clip.encode_embeddings(self.embeddings, self.end)
        return prompt_initialisation_loss(features, torch.arange(len(features)) % 2, text)


def bank_loss(pair: PromptPair, bank: FeatureBank, positions: Tensor) -> Tensor:
    """The loss of the bank's first B photographs, every other one well lit, at ``positions`` (B,)."""
    indices = torch.arange(len(positions))
    return prompt_initialisation_loss(bank("photos", indices, positions), indices % 2, pair(bank.clip))


def prompt_pair(clip: FrozenClip) -> PromptPair:
    """The prompts that both ways start from."""
    return PromptPair(clip, trained="all", generator=keyed_generator("benchmark", "prompts"))


def run(repetitions: int = 9) -> list[Table]:
    """Seconds of a step and of the whole stage."""
    clip = random_clip("ViT-B-32-quickgelu")
    photos = random_photos(BATCH, SIZE)
    seconds = interleaved(
        {
            "straightforward step": _straightforward_step(clip),
            "bank step": bank_step(clip, photos),
            "encoding": encoding(clip, photos),
        },
        repetitions,
    )
    refreshes = (STEPS - 1) // REFRESH_EVERY
    bank = PHOTOS * (VIEWS + refreshes) * seconds["encoding"] / BATCH
    before, after = seconds["straightforward step"], seconds["bank step"]
    rows = [
        (f"one step, batch {BATCH_SIZE}", before, after, "12 or more"),
        (f"{STEPS:,} steps and the bank", STEPS * before, STEPS * after + bank, "8 or more"),
    ]
    return [speedups("Prompt initialisation, ViT-B/32", rows)]


def _straightforward_step(clip: FrozenClip) -> Callable[[], None]:
    module = Straightforward(clip, prompt_pair(clip))
    side = clip.image_size[0]
    images = random_pixels(BATCH_SIZE, side).float() / 255
    return adam_step(module, lambda: module(images), LEARNING_RATE)


def bank_step(clip: FrozenClip, photos: Photos) -> Callable[[], None]:
    """One step on features of the bank."""
    pair = prompt_pair(clip)
    bank = FeatureBank(clip, Augmentation(), 1, 0, CPU)
    bank.add("photos", photos)
    steps = count()
    positions = torch.arange(BATCH_SIZE)
    return adam_step(pair, lambda: bank_loss(pair, bank, next(steps) * BATCH_SIZE + positions), LEARNING_RATE)


def encoding(clip: FrozenClip, photos: Photos) -> Callable[[], None]:
    """One refresh of a view of one batch of photographs."""
    bank = FeatureBank(clip, Augmentation(zoom=(0.5, 1.5)), 2, 0, CPU, refresh_every=1)
    bank.add("photos", photos)
    steps = count(1)
    return lambda: bank.advance(next(steps))

"""Priors: what CLIP sees of a photograph's structure and perception, made short enough to modulate with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from relit.clip_restorex.batched_linear import BatchedLinear
from relit.clip_restorex.precision import at_least_float32
from relit.clip_restorex.restormer import padded
from relit.errors import ConfigurationError
from relit.frozen_tower import FrozenTower, Token

_SLOPE = 0.1
"""Of the leaky ReLUs, as in DiffIR's encoder."""


def stacked_features(clip: FrozenTower, images: Tensor, blocks: Sequence[int], token: Token) -> Tensor:
    """Z of CLIP-RestoreX, its prior extraction module: (B, n, W), the features of n blocks.

    In float32 under any precision: what L_SAP tells apart is smaller than the rounding of bfloat16, and CLIP
    is a small part of a step.

    Args:
        clip: a frozen ViT; gradients reach the images.
        images: (B, 3, H, W) in [0, 1].
        blocks: which, counted from 1.
        token: the class token, or the mean of the patches' tokens.
    """
    with torch.autocast(images.device.type, enabled=False):
        return torch.stack(clip.block_features(at_least_float32(images), blocks, token), dim=1)


class ClipPriors(nn.Module):
    """The prior extraction module: frozen CLIP block features Z and the trained conversion module, P.

    The conversion module is an MLP of two layers for each block, with LeakyReLU(0.1) behind both.

    Args:
        width: W, of the features.
        blocks: of the tower, counted from 1: early ones tell structure, late ones perception.
        length: D, of each prior.
        token: what stands for a block: its class token, or the mean of its patches' tokens.
    """

    def __init__(
        self,
        width: int,
        blocks: Sequence[int] = (3, 6, 9, 12),
        length: int = 256,
        token: Token = "class",
    ) -> None:
        super().__init__()
        _check_length(length)
        self.blocks, self.token, self.length, self.width = tuple(blocks), token, length, width
        self.conversion = nn.Sequential(
            BatchedLinear(self.count, width, length),
            nn.LeakyReLU(_SLOPE),
            BatchedLinear(self.count, length, length),
            nn.LeakyReLU(_SLOPE),
        )

    @property
    def count(self) -> int:
        """n, the number of priors."""
        return len(self.blocks)

    @torch.no_grad()
    def observe(self, images: Tensor, clip: FrozenTower | None) -> Tensor:
        """Z, (B, n, W), of images (B, 3, H, W) in [0, 1]: what no training changes."""
        if clip is None:
            raise ConfigurationError(
                "clip.prior: priors need a CLIP. Choose clip=openai_prior or tiny_prior."
            )
        return stacked_features(clip, images, self.blocks, self.token)

    def forward(self, observed: Tensor) -> Tensor:
        """P, (B, n, D), of Z."""
        return cast("Tensor", self.conversion(observed))


class ImagePriors(nn.Module):
    """The control of Table 3: DiffIR's compact encoder, trained on the photographs themselves, without CLIP.

    It gives one prior, which serves every level.

    Args:
        channels: of its first half; the second has twice as many, the last layers D.
        length: D.
        residual_blocks: behind the first layer.
    """

    count = 1

    def __init__(self, channels: int = 64, length: int = 256, residual_blocks: int = 6) -> None:
        super().__init__()
        _check_length(length)
        self.length = length
        act = nn.LeakyReLU(_SLOPE)
        self.features = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, channels, 3, padding=1),
            act,
            *(_Residual(channels) for _ in range(residual_blocks)),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            act,
            nn.Conv2d(2 * channels, 2 * channels, 3, padding=1),
            act,
            nn.Conv2d(2 * channels, length, 3, padding=1),
            act,
        )
        self.head = nn.Sequential(nn.Linear(length, length), act, nn.Linear(length, length), act)

    def observe(self, images: Tensor, clip: FrozenTower | None) -> Tensor:
        """The images themselves, mirrored to sides that :meth:`forward` takes."""
        return padded(images)

    def forward(self, observed: Tensor) -> Tensor:
        """P, (B, 1, D), of images (B, 3, H, W) in [0, 1], both sides multiples of 4."""
        return cast("Tensor", self.head(self.features(observed).mean(dim=(2, 3)))[:, None])


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", x + self.body(x))


def _check_length(length: int) -> None:
    if length < 1:
        raise ConfigurationError(f"network.priors.length={length}: expected at least 1.")


Priors = ClipPriors | ImagePriors
"""Whatever sees a photograph and makes priors of what it saw."""

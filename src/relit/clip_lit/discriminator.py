"""EnlightenGAN's pair of discriminators: one judges the whole photograph, one small patches of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from relit.errors import ConfigurationError
from relit.keyed import keyed_generator

_STD = 0.02


class PatchDiscriminator(nn.Sequential):
    """A PatchGAN without normalisation: each score sees a part of the image only.

    ``layers`` convolutions of stride 2, one of stride 1, then one to a single channel, all 4x4 with padding 2
    and LeakyReLU between them. The border is padded with mid-grey, for the network sees [-1, 1].

    Args:
        layers: convolutions of stride 2.
        channels: of the first convolution; they double up to eight times that.
    """

    def __init__(self, layers: int, channels: int = 64) -> None:
        widths = [channels * min(2**level, 8) for level in range(layers + 1)]
        strides = [2] * layers + [1]
        hidden: list[nn.Module] = []
        for before, now, stride in zip([3, *widths[:-1]], widths, strides, strict=True):
            hidden += [nn.Conv2d(before, now, 4, stride, padding=2), nn.LeakyReLU(0.2)]
        super().__init__(*hidden, nn.Conv2d(widths[-1], 1, 4, padding=2))

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1], of any size, to scores (B, 1, h, w)."""
        return cast("Tensor", super().forward(2 * images - 1))


class DiscriminatorScores(NamedTuple):
    """Scores of B images: ``whole``, (B, 1, h, w), and of their P patches each, (B * P, 1, h', w')."""

    whole: Tensor
    patches: Tensor


class GlobalLocalDiscriminator(nn.Module):
    """A discriminator of whole images and another of patches, which sees that no region stays dark.

    Args:
        global_layers: convolutions of stride 2 in the discriminator of whole images.
        local_layers: the same in the discriminator of patches.
        channels: of the first convolution of either.
        patch: side of a patch in pixels.
        patches: patches per image.

    Raises:
        ConfigurationError: a number below 1.
    """

    def __init__(
        self,
        global_layers: int = 5,
        local_layers: int = 4,
        channels: int = 64,
        patch: int = 32,
        patches: int = 6,
    ) -> None:
        for name, value in (
            ("global_layers", global_layers),
            ("local_layers", local_layers),
            ("channels", channels),
            ("patch", patch),
            ("patches", patches),
        ):
            if value < 1:
                raise ConfigurationError(f"discriminator.{name}: expected at least 1, found {value}.")
        super().__init__()
        self.whole = PatchDiscriminator(global_layers, channels)
        self.local = PatchDiscriminator(local_layers, channels)
        self.patch = patch
        self.patches = patches

    def draw_corners(self, positions: Tensor | Sequence[int], size: int, *key: int | str) -> Tensor:
        """Where the patches are: upper left corners (y, x), uniform over all that fit.

        Args:
            positions: of the samples, B integers.
            size: side of the images in pixels, at least ``patch``.
            key: what the draws depend on besides the position.

        Returns:
            int64 on the CPU, (B, P, 2): row p is a function of the key and its position alone.
        """
        numbers = positions.tolist() if isinstance(positions, Tensor) else list(positions)
        shape = (self.patches, 2)
        generators = [keyed_generator(*key, "corners", int(position)) for position in numbers]
        return torch.stack([torch.randint(size - self.patch + 1, shape, generator=g) for g in generators])

    def forward(self, images: Tensor, corners: Tensor) -> DiscriminatorScores:
        """Score images (B, 3, S, S) in [0, 1] and their patches at ``corners``, (B, P, 2)."""
        return DiscriminatorScores(self.whole(images), self.local(crop_patches(images, corners, self.patch)))

    def score_with_fixed_weights(self, images: Tensor, corners: Tensor) -> DiscriminatorScores:
        """The same scores, but their gradient reaches ``images`` alone, no weight of the discriminators."""
        weights = {name: weight.detach() for name, weight in self.named_parameters()}
        return cast("DiscriminatorScores", functional_call(self, weights, (images, corners)))


def crop_patches(images: Tensor, corners: Tensor, patch: int) -> Tensor:
    """Cut P squares of side ``patch`` out of each image.

    Args:
        images: (B, C, H, W).
        corners: upper left (y, x), integers, (B, P, 2); best left on the CPU, where they are read.
        patch: side in pixels.

    Returns:
        (B * P, C, patch, patch), those of the first image first.
    """
    return torch.stack(
        [
            image[:, y : y + patch, x : x + patch]
            for image, own in zip(images.unbind(), corners.tolist(), strict=True)
            for y, x in own
        ]
    )


@torch.no_grad()
def initialise(discriminator: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights anew, as a function of ``generator`` (on the CPU) alone, as EnlightenGAN does.

    Convolution weights are N(0, 0.02), biases PyTorch's default U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)).
    """
    for module in discriminator.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * _STD)
        if module.bias is not None:
            uniform = torch.rand(module.bias.shape, generator=generator) * 2 - 1
            module.bias.copy_(uniform / math.sqrt(module.weight[0].numel()))

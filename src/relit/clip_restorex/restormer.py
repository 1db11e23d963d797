"""Restormer (Zamir et al., CVPR 2022), whose blocks priors may modulate, CLIP-RestoreX Eq. (7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from relit.clip_restorex.restormer_blocks import TransformerBlock
from relit.errors import ConfigurationError

MULTIPLE = 8
"""Both sides of the input must be multiples of this: it is halved three times."""

LEVELS = 4


class Restormer(nn.Module):
    """An encoder-decoder of transformer blocks that adds what it predicts to its input.

    Without priors it is the plain network: tensors are named and shaped as in the released weights (of the
    variant whose normalisation has a bias). With priors, level i of the encoder and of the decoder takes the
    i-th prior and the refinement the first; a single prior serves all.

    Args:
        dim: channels of the first level; each further one has twice as many.
        blocks: of the four levels; the decoder has as many as the encoder.
        refinement: blocks behind the decoder, at full resolution.
        heads: of the four levels' attention.
        expansion: of the feed-forward layers.
        prior: D, length of the priors; None for the plain network.
        checkpointing: compute the blocks' activations again on the way back instead of keeping them: about
            half the memory, a fifth more time.
        levelled: keep flat areas flat on the way up, see :meth:`level`; false is Restormer as published.
    """

    def __init__(
        self,
        dim: int = 48,
        blocks: Sequence[int] = (2, 2, 2, 2),
        refinement: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        expansion: float = 2.66,
        prior: int | None = 256,
        checkpointing: bool = False,
        levelled: bool = True,
    ) -> None:
        super().__init__()
        _check_levels(dim, blocks, heads)
        _check_blocks(blocks, refinement, dim, expansion)
        self.prior = prior
        self.checkpointing, self.levelled = checkpointing, levelled
        widths = [dim * 2**level for level in range(LEVELS)]

        def level(channels: int, count: int, head: int) -> nn.ModuleList:
            return nn.ModuleList(TransformerBlock(channels, head, expansion, prior) for _ in range(count))

        # named as in the released weights
        self.patch_embed = PatchEmbedding(dim)
        self.encoder_level1 = level(widths[0], blocks[0], heads[0])
        self.down1_2 = Downsample(widths[0])
        self.encoder_level2 = level(widths[1], blocks[1], heads[1])
        self.down2_3 = Downsample(widths[1])
        self.encoder_level3 = level(widths[2], blocks[2], heads[2])
        self.down3_4 = Downsample(widths[2])
        self.latent = level(widths[3], blocks[3], heads[3])
        self.up4_3 = Upsample(widths[3])
        self.reduce_chan_level3 = nn.Conv2d(widths[3], widths[2], 1, bias=False)
        self.decoder_level3 = level(widths[2], blocks[2], heads[2])
        self.up3_2 = Upsample(widths[2])
        self.reduce_chan_level2 = nn.Conv2d(widths[2], widths[1], 1, bias=False)
        self.decoder_level2 = level(widths[1], blocks[1], heads[1])
        self.up2_1 = Upsample(widths[1])
        # at full resolution the decoder keeps the skip connection's channels beside its own
        self.decoder_level1 = level(widths[1], blocks[0], heads[0])
        self.refinement = level(widths[1], refinement, heads[0])
        self.output = nn.Conv2d(widths[1], 3, 3, padding=1, bias=False)
        self.level()

    def forward(self, images: Tensor, priors: Tensor | None = None) -> Tensor:
        """The corrected images, not clipped.

        Args:
            images: (B, 3, H, W) in [0, 1]; H and W multiples of 8.
            priors: (B, 4, D), or (B, 1, D) where one serves all levels; None for the plain network.
        """
        first, second, third, fourth = self.by_level(images, priors)
        one = self._through(self.encoder_level1, self.patch_embed(images), first)
        two = self._through(self.encoder_level2, self.down1_2(one), second)
        three = self._through(self.encoder_level3, self.down2_3(two), third)
        x = self._through(self.latent, self.down3_4(three), fourth)
        x = self.reduce_chan_level3(torch.cat([self.up4_3(x), three], 1))
        x = self._through(self.decoder_level3, x, third)
        x = self.reduce_chan_level2(torch.cat([self.up3_2(x), two], 1))
        x = self._through(self.decoder_level2, x, second)
        x = self._through(self.decoder_level1, torch.cat([self.up2_1(x), one], 1), first)
        return cast("Tensor", images + self.output(self._through(self.refinement, x, first)))

    def level(self) -> None:
        """Keep flat areas flat on the way up, see :meth:`Upsample.level`; nothing if not ``levelled``."""
        if self.levelled:
            for layer in (self.up4_3, self.up3_2, self.up2_1):
                layer.level()

    def by_level(self, images: Tensor, priors: Tensor | None) -> tuple[Tensor | None, ...]:
        """The prior of each of the four levels, (B, D), or four times None for the plain network.

        Raises:
            ValueError: images or priors are not what :meth:`forward` takes.
        """
        height, width = images.shape[-2:]
        if height % MULTIPLE or width % MULTIPLE:
            raise ValueError(f"sides must be multiples of {MULTIPLE}, not {width}x{height}; see padded()")
        if (priors is None) != (self.prior is None):
            raise ValueError("a network built with priors needs them, and only such a network takes them")
        if priors is None:
            return (None,) * LEVELS
        if priors.shape[1] not in (1, LEVELS):
            raise ValueError(f"expected {LEVELS} priors, or one for all levels, not {priors.shape[1]}")
        return priors.expand(-1, LEVELS, -1).unbind(dim=1)

    def _through(self, blocks: Iterable[nn.Module], x: Tensor, prior: Tensor | None) -> Tensor:
        for block in blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x = cast("Tensor", checkpoint(block, x, prior, use_reentrant=False))
            else:
                x = block(x, prior)
        return x


class PatchEmbedding(nn.Module):
    """Features of each pixel's neighbourhood: (B, 3, H, W) to (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, 3, padding=1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return cast("Tensor", self.proj(images))


class Downsample(nn.Module):
    """Half the sides, twice the channels: (B, C, H, W) to (B, 2C, H/2, W/2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False)
        self.body = nn.Sequential(convolution, nn.PixelUnshuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.body(x))


class Upsample(nn.Module):
    """Twice the sides, half the channels: (B, C, H, W) to (B, C/2, 2H, 2W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False)
        self.body = nn.Sequential(convolution, nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.body(x))

    @torch.no_grad()
    def level(self) -> None:
        """Change the kernels as little as possible so that a flat area stays flat.

        One pixel becomes four by four kernels. Where their sums differ, a flat area becomes a checkerboard,
        which three levels make one of 8 pixels. So each sum becomes the mean of the four.
        """
        weight = cast("nn.Conv2d", self.body[0]).weight
        # the four that PixelShuffle takes for one channel lie side by side
        sums = weight.sum(dim=(2, 3)).unflatten(0, (-1, 4))
        excess = (sums - sums.mean(dim=1, keepdim=True)).flatten(0, 1)
        weight -= excess[:, :, None, None] / weight[0, 0].numel()


def padded(images: Tensor) -> Tensor:
    """Mirror images (B, C, H, W) at their right and lower border until both sides are multiples of 8.

    Sides too short to be mirrored, up to 4 pixels, repeat their last row or column.
    """
    height, width = images.shape[-2:]
    bottom, right = -height % MULTIPLE, -width % MULTIPLE
    for amount, side, pad in ((bottom, height, (0, 0, 0, bottom)), (right, width, (0, right, 0, 0))):
        if amount:
            images = F.pad(images, pad, mode="reflect" if amount < side else "replicate")
    return images


def _check_levels(dim: int, blocks: Sequence[int], heads: Sequence[int]) -> None:
    if dim < 2 or dim % 2:
        raise ConfigurationError(
            f"network.restormer.dim={dim}: expected an even number; it is halved on the way down."
        )
    if len(blocks) != LEVELS or len(heads) != LEVELS:
        raise ConfigurationError(
            f"network.restormer: expected {LEVELS} numbers in blocks and in heads, one for each level, not "
            f"{list(blocks)} and {list(heads)}."
        )
    for level, head in enumerate(heads):
        # the first level's blocks come back in the decoder with twice the channels, so this covers them
        if head < 1 or (dim * 2**level) % head:
            raise ConfigurationError(
                f"network.restormer.heads: {head} heads don't divide the {dim * 2**level} channels of level "
                f"{level + 1}; change heads or dim."
            )


def _check_blocks(blocks: Sequence[int], refinement: int, dim: int, expansion: float) -> None:
    if min(*blocks, refinement) < 0:
        raise ConfigurationError(
            f"network.restormer: expected 0 blocks or more, not {list(blocks)} and refinement={refinement}."
        )
    if int(dim * expansion) < 1:
        raise ConfigurationError(
            f"network.restormer.expansion={expansion}: nothing is left of {dim} channels; Restormer has 2.66."
        )

"""What a Restormer is made of: channel attention and gated feed-forward, each modulated by a prior.

Tensors are (B, C, H, W). In channels-last memory nothing is copied: normalisation and attention look at the
same numbers as (B, H, W, C).
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from relit.clip_restorex.precision import at_least_float32


class Modulation(nn.Module):
    """W1 and W2 of CLIP-RestoreX Eq. (7): x' = W1 P * Norm(x) + W2 P.

    It begins as W1 P = 1, W2 P = 0, the plain block; so an unmodulated Restormer's weights may be its start.

    Args:
        prior: D, length of the prior.
        channels: C, of what it modulates.
    """

    def __init__(self, prior: int, channels: int) -> None:
        super().__init__()
        self.scale = nn.Linear(prior, channels)
        self.shift = nn.Linear(prior, channels)
        for layer, start in ((self.scale, 1.0), (self.shift, 0.0)):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, start)

    def forward(self, prior: Tensor) -> tuple[Tensor, Tensor]:
        """W1 P and W2 P, (B, C) each, of P, (B, D)."""
        return self.scale(prior), self.shift(prior)


class ChannelNorm(nn.Module):
    """Layer normalisation of each pixel over its channels, modulated where there is a prior.

    The Norm of CLIP-RestoreX Eq. (7), and its product and sum.

    Args:
        channels: C.
        prior: D; None for the plain layer.
    """

    def __init__(self, channels: int, prior: int | None) -> None:
        super().__init__()
        self.body = nn.LayerNorm(channels)  # the name it has in released weights
        self.modulation = None if prior is None else Modulation(prior, channels)

    def forward(self, x: Tensor, prior: Tensor | None) -> Tensor:
        """(B, C, H, W) to the same; ``prior`` is (B, D) where the layer is modulated."""
        normed = cast("Tensor", self.body(x.permute(0, 2, 3, 1)))
        if self.modulation is not None:
            if prior is None:
                raise ValueError("a modulated layer needs a prior")
            scale, shift = self.modulation(prior)
            normed = torch.addcmul(shift[:, None, None], normed, scale[:, None, None])
        return normed.permute(0, 3, 1, 2)


class AttentionStatistics(NamedTuple):
    """Sums over pixels by which channels attend to each other; those of tiles add up to the photograph's.

    Attributes:
        gram: (B, heads, c, c), q k^T.
        query: (B, heads, c), squared norms of the rows of q.
        key: (B, heads, c), squared norms of the rows of k.
    """

    gram: Tensor
    query: Tensor
    key: Tensor

    def __add__(self, other: object) -> AttentionStatistics:
        if not isinstance(other, AttentionStatistics):
            return NotImplemented
        return AttentionStatistics(*(a + b for a, b in zip(self, other, strict=True)))


class ChannelAttention(nn.Module):
    """MDTA: each channel attends to the others, over all pixels; transposed attention after 3x3 depthwise.

    Attention = softmax(temperature * q k^T / (|q| |k|)), the norms over pixels. They are divided out of the
    small product instead of the large factors, which also lets tiles add up: see
    :class:`AttentionStatistics`.

    Args:
        channels: C.
        heads: groups of channels that attend among themselves.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.qkv_dwconv = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        query, key, value = self.projections(x)
        return self.apply_to(value, self.attention(self.statistics(query, key)))

    def projections(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v, (B, C, H, W) each."""
        query, key, value = self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)
        return query, key, value

    def statistics(self, query: Tensor, key: Tensor) -> AttentionStatistics:
        """The sums over pixels of q and k, (B, C, H, W), in float32: they leave the range of float16."""
        with torch.autocast(query.device.type, enabled=False):
            q, k = (self._by_head(at_least_float32(x)) for x in (query, key))
            gram = q.transpose(-1, -2) @ k
            return AttentionStatistics(gram, q.square().sum(dim=-2), k.square().sum(dim=-2))

    def attention(self, sums: AttentionStatistics) -> Tensor:
        """(B, heads, c, c), rows summing to 1."""
        # clamped before the root, whose slope at 0 would make the gradients of a black photograph NaN
        norms = [squared.clamp(min=1e-24).sqrt() for squared in (sums.query, sums.key)]
        cosines = sums.gram / (norms[0][..., :, None] * norms[1][..., None, :])
        return (cosines * self.temperature).softmax(dim=-1)

    def apply_to(self, value: Tensor, attention: Tensor) -> Tensor:
        """What the attention makes of v: (B, C, H, W)."""
        batch, channels, height, width = value.shape
        mixed = self._by_head(value) @ attention.transpose(-1, -2).to(value.dtype)
        pixels = mixed.transpose(1, 2).reshape(batch, height, width, channels)
        return self.project_out(pixels.permute(0, 3, 1, 2))

    def _by_head(self, x: Tensor) -> Tensor:
        """(B, C, H, W) as (B, heads, H W, c)."""
        return x.permute(0, 2, 3, 1).flatten(1, 2).unflatten(-1, (self.heads, -1)).transpose(1, 2)


class GatedFeedForward(nn.Module):
    """GDFN: two branches of 1x1 and depthwise 3x3 convolutions, one gating the other through GELU.

    Args:
        channels: C.
        expansion: width of each branch over C.
    """

    def __init__(self, channels: int, expansion: float) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        gate, passed = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * passed)


class TransformerBlock(nn.Module):
    """x + MDTA(Norm(x)), then x + GDFN(Norm(x)), with the prior in both norms, Eq. (7).

    Args:
        channels: C.
        heads: of the attention.
        expansion: of the feed-forward.
        prior: D; None for the plain block.
    """

    def __init__(self, channels: int, heads: int, expansion: float, prior: int | None) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels, prior)
        self.attn = ChannelAttention(channels, heads)
        self.norm2 = ChannelNorm(channels, prior)
        self.ffn = GatedFeedForward(channels, expansion)

    def forward(self, x: Tensor, prior: Tensor | None) -> Tensor:
        """(B, C, H, W) and, where the block is modulated, (B, D) to (B, C, H, W)."""
        x = x + self.attn(self.norm1(x, prior))
        return x + self.ffn(self.norm2(x, prior))

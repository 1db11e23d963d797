"""A Restormer over large photographs: the same result, computed in strips of rows.

Only the feature maps of the four levels are kept, large ones in files, and blocks change them in place. A
level's map on the way down serves as the decoder's on the way up. What a layer needs besides, many times its
map, exists for one strip at a time.

Strips are exact. A 3x3 convolution looks one row beyond a strip, so each carries the row above and the row
below; what is computed for these is dropped, and only the photograph's own border is padded with zeros. MDTA
looks at all pixels, but only in sums over them: a first pass adds these up, a second applies the attention.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from operator import add
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from relit.clip_restorex.feature_maps import feature_map
from relit.clip_restorex.restormer import Downsample, Restormer, Upsample, padded
from relit.clip_restorex.restormer_blocks import AttentionStatistics, ChannelAttention, TransformerBlock

WHOLE_PIXELS = 512 * 512
"""More, of all photographs at once, are streamed: the same result from less memory."""

ROWS = 8
"""Of a strip. On CPU higher ones are slower, for their features leave the processor's cache."""

ROWS_ON_GPU = 128
"""Of a strip on any other device, where a strip must be worth its launches."""


def of_any_size(
    restormer: Restormer, images: Tensor, priors: Tensor | None, rows: int | None = None
) -> Tensor:
    """What ``restormer`` makes of whole photographs, not clipped, whatever their sides.

    Args:
        restormer: left as it is.
        images: (B, 3, H, W) in [0, 1]; mirrored to multiples of 8 and cut back.
        priors: as in :meth:`Restormer.forward`.
        rows: of a strip; None streams only what is above :data:`WHOLE_PIXELS`, in strips that suit the
            device.
    """
    height, width = images.shape[-2:]
    whole = padded(images).contiguous(memory_format=torch.channels_last)
    if rows is None and len(images) * height * width > WHOLE_PIXELS:
        rows = ROWS if images.device.type == "cpu" else ROWS_ON_GPU
    result = restormer(whole, priors) if rows is None else streamed(restormer, whole, priors, rows)
    return result[..., :height, :width]


@torch.no_grad()
def streamed(restormer: Restormer, images: Tensor, priors: Tensor | None = None, rows: int = ROWS) -> Tensor:
    """What ``restormer(images, priors)`` is without gradients, up to rounding.

    Args:
        restormer: left as it is.
        images: (B, 3, H, W) in [0, 1]; H and W multiples of 8.
        priors: (B, 4, D), or (B, 1, D) where one serves all levels; None for the plain network.
        rows: height of a strip, at every level.

    Raises:
        ValueError: ``rows`` is less than 1, or the Restormer itself would refuse images or priors.
    """
    if rows < 1:
        raise ValueError(f"a strip has at least 1 row, not {rows}")
    first, second, third, fourth = restormer.by_level(images, priors)
    embedding = restormer.patch_embed.proj
    # decoder level 1 reads what comes from below and the skip connection as one map: no third copy joins them
    x = feature_map(images, 2 * embedding.out_channels, *images.shape[2:])
    from_below, one = x.chunk(2, dim=1)
    _write(_convolved(images, rows, embedding), one)
    _through(restormer.encoder_level1, one, first, rows)
    two = _halved(restormer.down1_2, one, rows)
    _through(restormer.encoder_level2, two, second, rows)
    three = _halved(restormer.down2_3, two, rows)
    _through(restormer.encoder_level3, three, third, rows)
    four = _halved(restormer.down3_4, three, rows)
    _through(restormer.latent, four, fourth, rows)
    _join(restormer.up4_3, restormer.reduce_chan_level3, four, three, rows)
    del four
    _through(restormer.decoder_level3, three, third, rows)
    _join(restormer.up3_2, restormer.reduce_chan_level2, three, two, rows)
    del three
    _through(restormer.decoder_level2, two, second, rows)
    _write(_convolved(two, rows, *restormer.up2_1.body), from_below)
    del two
    _through(restormer.decoder_level1, x, first, rows)
    _through(restormer.refinement, x, first, rows)
    correction = torch.empty_like(images)
    _write(_convolved(x, rows, restormer.output), correction)
    return correction.add_(images)


class Strip(NamedTuple):
    """Some rows of a feature map and what surrounds them.

    Attributes:
        rows: where they are in the map.
        framed: the rows, with the one above and the one below where there are such.
        inner: where the rows are in ``framed``, and in what a 3x3 convolution makes of it.
    """

    rows: slice
    framed: Tensor
    inner: slice


def strips(x: Tensor, rows: int) -> Iterator[Strip]:
    """(B, C, H, W) in strips from the top, the last one perhaps lower than ``rows``.

    The rows of a strip may be overwritten before the next one is asked for: it sees what was there.
    """
    height = x.shape[2]
    above: list[Tensor] = []
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        framed = torch.cat([*above, x[:, :, top : bottom + 1]], dim=2)
        inner = slice(len(above), len(above) + bottom - top)
        above = [x[:, :, bottom - 1 : bottom].clone()]
        yield Strip(slice(top, bottom), framed, inner)


def _through(blocks: Iterable[nn.Module], x: Tensor, prior: Tensor | None, rows: int) -> None:
    """Blocks one after the other, in place."""
    for block in blocks:
        assert isinstance(block, TransformerBlock)
        _attend(block, x, prior, rows)
        _feed_forward(block, x, prior, rows)


def _attend(block: TransformerBlock, x: Tensor, prior: Tensor | None, rows: int) -> None:
    """x + MDTA(Norm(x)), in place."""
    attention = block.attn.attention(_statistics(block, x, prior, rows))
    channels = x.shape[1]
    for strip in strips(x, rows):
        value = _projected(block.attn, block.norm1(strip.framed, prior), slice(2 * channels, None))
        x[:, :, strip.rows] += block.attn.apply_to(value[:, :, strip.inner], attention)


def _statistics(block: TransformerBlock, x: Tensor, prior: Tensor | None, rows: int) -> AttentionStatistics:
    """Of q and k, over all strips."""

    def of(strip: Strip) -> AttentionStatistics:
        both = _projected(block.attn, block.norm1(strip.framed, prior), slice(2 * x.shape[1]))
        query, key = both[:, :, strip.inner].chunk(2, dim=1)
        return block.attn.statistics(query, key)

    return reduce(add, map(of, strips(x, rows)))


def _projected(attention: ChannelAttention, x: Tensor, part: slice) -> Tensor:
    """Some channels of q, k and v, which lie one behind the other; the others are not computed."""
    pointwise, depthwise = attention.qkv.weight[part], attention.qkv_dwconv.weight[part]
    return F.conv2d(F.conv2d(x, pointwise), depthwise, padding=1, groups=len(depthwise))


def _feed_forward(block: TransformerBlock, x: Tensor, prior: Tensor | None, rows: int) -> None:
    """x + GDFN(Norm(x)), in place."""
    for strip in strips(x, rows):
        x[:, :, strip.rows] += block.ffn(block.norm2(strip.framed, prior))[:, :, strip.inner]


def _convolved(
    x: Tensor, rows: int, convolution: nn.Module, rearrange: nn.Module | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Strips of a 3x3 convolution's result, its pixels (un)shuffled, and the rows that they take."""
    top = 0
    for strip in strips(x, rows):
        result = convolution(strip.framed)[:, :, strip.inner]
        result = result if rearrange is None else rearrange(result)
        yield slice(top, top := top + result.shape[2]), result


def _halved(layer: Downsample, x: Tensor, rows: int) -> Tensor:
    """(B, C, H, W) to (B, 2C, H/2, W/2)."""
    _, channels, height, width = x.shape
    out = feature_map(x, 2 * channels, height // 2, width // 2)
    _write(_convolved(x, 2 * rows, *layer.body), out)
    return out


def _join(layer: Upsample, narrow: nn.Module, x: Tensor, skip: Tensor, rows: int) -> None:
    """The decoder's map at twice the sides of ``x``, in place of the skip connection that enters it."""
    for place, upsampled in _convolved(x, rows, *layer.body):
        skip[:, :, place] = narrow(torch.cat([upsampled, skip[:, :, place]], dim=1))


def _write(placed: Iterable[tuple[slice, Tensor]], into: Tensor) -> None:
    for place, strip in placed:
        into[:, :, place] = strip

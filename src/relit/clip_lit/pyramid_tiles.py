"""The released network in tiles. Its pyramid pooling looks at the whole photograph, which no tile shows.

Average pooling and bilinear upsampling are linear in each direction, A X B^T with matrices A and B of
weights. So a first pass over the tiles adds up their shares of the averages, and a second upsamples these at
the tile's own pixels. What it needs of the first, the features before pooling, is kept unless it is large.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, prod

import torch
from torch import Tensor
from torch.nn import functional as F

from relit.clip_lit.network import ResidualPPM
from relit.clip_lit.tiles import Index, tiles

BEFORE_POOLING = 5
"""Pixels that a feature before pooling looks around: cond1 1, two residual blocks 2 each."""

BEHIND_POOLING = 12
"""Pixels of features that the map looks around: the fuse convolution, condx, condy and cond_add1 1 each,
four residual blocks 2 each."""

KEPT = 2**29
"""Bytes of features before pooling that are kept for the second pass. In float32 that is a photograph of 4
megapixels; of a larger one they are computed again, so that memory stays bounded."""


def map_of_residual_ppm(network: ResidualPPM, photo: Tensor, side: int) -> Iterator[tuple[Index, Tensor]]:
    """What ``network.illumination(photo)`` is, by tiles of at most ``side`` pixels: place and map of each."""
    size = photo.shape[-2:]
    averages, features = _pooled(network, photo, side)
    parts = []
    for level, average in zip(network.PPM1.features, averages, strict=True):
        _, convolution, activation = level.children()
        parts.append(activation(convolution(average)))
    for tile in tiles(size, side, BEHIND_POOLING):
        seen = _features(network, photo, tile.window) if features is None else features[tile.window]
        upsampled = [_upsampled(part, size, tile.window) for part in parts]
        mixed = network.PPM1.fuse(torch.cat([seen, *upsampled], dim=1))
        yield tile.place, network.behind_pooling(mixed)[tile.inner]


def _features(network: ResidualPPM, photo: Tensor, window: Index) -> Tensor:
    """``network.before_pooling(photo)[window]``."""
    (rows, inner_rows), (columns, inner_columns) = (
        _widened(span, length) for span, length in zip(window[1:], photo.shape[-2:], strict=True)
    )
    return network.before_pooling(photo[..., rows, columns])[..., inner_rows, inner_columns]


def _widened(span: slice, length: int) -> tuple[slice, slice]:
    """Pixels that the features at ``span`` look at, of a side of ``length``, and ``span`` in them."""
    first, last = max(span.start - BEFORE_POOLING, 0), min(span.stop + BEFORE_POOLING, length)
    return slice(first, last), slice(span.start - first, span.stop - first)


def _pooled(network: ResidualPPM, photo: Tensor, side: int) -> tuple[list[Tensor], Tensor | None]:
    """What each average pooling of the pyramid makes of the whole photograph, (B, 32, bins, bins).

    And the features that it is made of, (B, 32, H, W), where they take at most :data:`KEPT` bytes: who needs
    them again need not compute them again, which is an eighth of the network's work.
    """
    size = photo.shape[-2:]
    shares = [[_shares(length, bins).to(photo) for length in size] for bins in network.PPM1.bins]
    averages = [photo.new_zeros(()) for _ in shares]
    kept: Tensor | None = None
    for tile in tiles(size, side, 0):
        features = _features(network, photo, tile.place)
        if kept is None and _bytes_of(features, size) <= KEPT:
            shape = (*features.shape[:2], *size)
            kept = torch.empty(
                shape, dtype=features.dtype, device=features.device, memory_format=torch.channels_last
            )
        if kept is not None:
            kept[tile.place] = features
        _, rows, columns = tile.place
        # in half precision the sums over a photograph would be lost
        with torch.autocast(photo.device.type, enabled=False):
            for level, (vertical, horizontal) in enumerate(shares):
                share = _weighted(features.to(vertical.dtype), vertical[:, rows], horizontal[:, columns])
                averages[level] = averages[level] + share
    return averages, kept


def _weighted(features: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """Sums of features (B, C, h, w) by weights (bins, h) and (bins, w): (B, C, bins, bins).

    Channels stay last, as they lie in memory: a product in another order would copy the features first.
    """
    width = features.shape[-1]
    rows = vertical @ features.permute(0, 2, 3, 1).flatten(2)
    return (horizontal @ rows.unflatten(2, (width, -1))).permute(0, 3, 1, 2)


def _bytes_of(features: Tensor, size: Sequence[int]) -> int:
    """That features like these take in a photograph of ``size``."""
    return prod((*features.shape[:2], *size)) * features.element_size()


def _shares(length: int, bins: int) -> Tensor:
    """(bins, length): the weight of each pixel in the average of each bin, as AdaptiveAvgPool2d cuts them.

    Where ``length`` is no multiple of ``bins``, neighbours share a pixel.
    """
    shares = torch.zeros(bins, length, dtype=torch.float64)
    for number in range(bins):
        start, stop = number * length // bins, ceil((number + 1) * length / bins)
        shares[number, start:stop] = 1 / (stop - start)
    return shares


def _upsampled(part: Tensor, size: torch.Size, window: Index) -> Tensor:
    """(B, C, bins, bins) as the pyramid upsamples it to the whole photograph, in a window of it."""
    _, *pixels = window
    vertical, horizontal = (
        _bilinear(part.shape[-1], length).to(part)[:, within]
        for length, within in zip(size, pixels, strict=True)
    )
    return vertical.T @ part @ horizontal


def _bilinear(bins: int, length: int) -> Tensor:
    """(bins, length): the weight of each bin at each pixel, where the corners coincide."""
    each = torch.eye(bins, dtype=torch.float64)[None]
    return F.interpolate(each, length, mode="linear", align_corners=True)[0]

"""CLIP-LIT's networks over large photographs: the same illumination map, computed tile by tile.

Each tile is computed in a window, which is the tile and a halo around it, as wide as the network's
convolutions look. What a window's edge spoils ends inside the halo and is dropped with it; a window that
reaches the photograph's own border has no halo there, and is padded as the whole photograph would be.

Only pyramid pooling looks further. Its average pooling and its bilinear upsampling are linear in each
direction, A X B^T with matrices A and B of weights. So a first pass over the tiles adds up their shares of
the averages, and a second upsamples these at the tile's own pixels; what it needs of the first, the features
before pooling, is kept as long as it is not too large.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from math import ceil, prod
from types import EllipsisType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from relit.clip_lit.guided import map_of_reduced
from relit.clip_lit.network import IlluminationNetwork, ResidualPPM, UNet, enhance

SIDE = 512
"""Of a tile. A photograph without a longer side is computed whole. A larger one takes longer whole than in
tiles on CPU."""

SIDE_ON_GPU = 1024
"""Of a tile on any other device, where a tile must be worth its launches."""

BEFORE_POOLING = 5
"""Pixels that a feature before pooling looks around: cond1 1, two residual blocks 2 each."""

BEHIND_POOLING = 12
"""Pixels of features that the map looks around: the fuse convolution, condx, condy and cond_add1 1 each,
four residual blocks 2 each."""

KEPT = 2**29
"""Bytes of features before pooling that are kept for the second pass. In float32 that is a photograph of 4
megapixels; of a larger one they are computed again, so that memory stays bounded."""

Index = tuple[EllipsisType, slice, slice]


@torch.no_grad()
def enhance_any_size(network: IlluminationNetwork, photo: Tensor, side: int | None = None) -> Tensor:
    """I_t of photographs of any size, by the map of ``network``.

    Args:
        network: left as it is.
        photo: I_b, (B, 3, H, W) in [0, 1].
        side: of a tile in pixels; None takes one that suits the device. Photographs without a longer side are
            computed whole.

    Returns:
        I_t, (B, 3, H, W) in [0, 1].
    """
    height, width = photo.shape[-2:]
    if min(height, width) == 1:  # a border can't be reflected at a single pixel
        photo = F.pad(photo, (0, int(width == 1), 0, int(height == 1)), mode="replicate")
    if side is None:
        side = SIDE if photo.device.type == "cpu" else SIDE_ON_GPU
    if max(height, width) <= side:
        return enhance(photo, network(photo))[..., :height, :width]
    if network.illumination_scale > 1:
        small_map = partial(_whole_map, network, side=side)
        illumination = map_of_reduced(photo, network.illumination_scale, small_map, network.multiple)
        return enhance(photo, illumination)[..., :height, :width]
    # no whole map beside the result
    result = torch.empty_like(photo)
    for place, illumination in tiled_map(network, photo, side):
        result[place] = enhance(photo[place], illumination)
    return result[..., :height, :width]


def _whole_map(network: IlluminationNetwork, small: Tensor, side: int) -> Tensor:
    """``network.illumination(small)``, (B, 1, h, w), in tiles where it is large."""
    if max(small.shape[-2:]) <= side:
        return network.illumination(small)
    whole = small.new_empty(small.shape[0], 1, *small.shape[-2:])
    for place, illumination in tiled_map(network, small, side):
        whole[place] = illumination
    return whole


@torch.no_grad()
def tiled_map(network: IlluminationNetwork, photo: Tensor, side: int) -> Iterator[tuple[Index, Tensor]]:
    """What ``network.illumination(photo)`` is without gradients, up to rounding, in tiles.

    Args:
        network: left as it is; evaluated as at test time.
        photo: (B, 3, H, W) in [0, 1], sides of at least 2 pixels.
        side: of a tile, at most; :class:`UNet` takes the next multiple of its coarsest pixels.

    Yields:
        The place of a tile in the map, and the map there, (B, 1, h, w).

    Raises:
        ValueError: ``side`` is less than 1.
        TypeError: how far the network looks is not known here.
    """
    if side < 1:
        raise ValueError(f"a tile has at least 1 pixel a side, not {side}")
    if isinstance(network, ResidualPPM):
        yield from _of_residual_ppm(network, photo, side)
    elif isinstance(network, UNet):
        for tile in tiles(photo.shape[-2:], side, halo_of_unet(network), network.multiple):
            yield tile.place, network.illumination(photo[tile.window])[tile.inner]
    else:
        raise TypeError(f"{type(network).__name__} has no known halo to compute it in tiles with")


def halo_of_unet(network: UNet) -> int:
    """Pixels around a tile that its map depends on, rounded up to whole pixels of the coarsest level.

    From the map to the coarsest level and up again to the photograph; shorter ways see less. With four levels
    54 pixels, so 56.
    """
    halvings = len(network.encoder) - 1
    reach = 1  # of the last convolution
    for _ in range(halvings):
        # two convolutions, then upsampling: pixel -n lies between -n/2 - 1 and -n/2 of half the resolution
        reach = (reach + 2) // 2 + 1
    reach += 2
    for _ in range(halvings):
        # max pooling, and the two convolutions before it
        reach = 2 * reach + 2
    return _rounded_up(reach, network.multiple)


class Tile(NamedTuple):
    """A part of a photograph, as indices of tensors (..., H, W).

    Attributes:
        place: of the tile in the photograph.
        window: the tile with its halo, in the photograph.
        inner: the tile in its window.
    """

    place: Index
    window: Index
    inner: Index


def tiles(size: Sequence[int], side: int, halo: int, multiple: int = 1) -> Iterator[Tile]:
    """Tiles of about the same size that cover a photograph once, row by row.

    Args:
        size: height and width of the photograph.
        side: of a tile, at most; rounded up to ``multiple``.
        halo: pixels around a tile, fewer where the photograph ends.
        multiple: tiles begin at multiples of it.
    """
    rows, columns = (list(_spans(length, side, halo, multiple)) for length in size)
    for vertical, horizontal in product(rows, columns):
        yield Tile(*((..., *slices) for slices in zip(vertical, horizontal, strict=True)))


def _spans(length: int, side: int, halo: int, multiple: int) -> Iterator[tuple[slice, slice, slice]]:
    """Place, window and inner place of tiles in one direction."""
    count = ceil(length / _rounded_up(side, multiple))
    step = _rounded_up(ceil(length / count), multiple)
    for start in range(0, length, step):
        stop = min(start + step, length)
        first, last = max(start - halo, 0), min(stop + halo, length)
        yield slice(start, stop), slice(first, last), slice(start - first, stop - first)


def _rounded_up(number: int, multiple: int) -> int:
    return ceil(number / multiple) * multiple


def _of_residual_ppm(network: ResidualPPM, photo: Tensor, side: int) -> Iterator[tuple[Index, Tensor]]:
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
    _, *spans = window
    wide = [
        slice(max(span.start - BEFORE_POOLING, 0), min(span.stop + BEFORE_POOLING, length))
        for span, length in zip(spans, photo.shape[-2:], strict=True)
    ]
    inner = [slice(s.start - w.start, s.stop - w.start) for s, w in zip(spans, wide, strict=True)]
    return network.before_pooling(photo[(..., *wide)])[(..., *inner)]


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
                share = vertical[:, rows] @ features.to(vertical.dtype) @ horizontal[:, columns].T
                averages[level] = averages[level] + share
    return averages, kept


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

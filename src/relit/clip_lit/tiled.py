"""CLIP-LIT's networks over large photographs: the same illumination map, computed tile by tile.

Each tile is computed in a window, which is the tile and a halo around it, as wide as the network's
convolutions look. What a window's edge spoils ends inside the halo and is dropped with it; a window that
reaches the photograph's own border has no halo there, and is padded as the whole photograph would be. Only
pyramid pooling looks further: :mod:`relit.clip_lit.pyramid_tiles`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from relit.clip_lit.network import IlluminationNetwork, ResidualPPM, UNet, enhance
from relit.clip_lit.pyramid_tiles import map_of_residual_ppm
from relit.clip_lit.strips import enhance_at_scale
from relit.clip_lit.tiles import Index, rounded_up, tiles

SIDE = 512
"""Of a tile. A photograph of no more pixels is computed whole. A larger one takes longer whole than in tiles
on CPU."""

SIDE_ON_GPU = 1024
"""Of a tile on any other device, where a tile must be worth its launches."""


@torch.no_grad()
def enhance_any_size(network: IlluminationNetwork, photo: Tensor, side: int | None = None) -> Tensor:
    """I_t of photographs of any size, by the map of ``network``.

    Args:
        network: left as it is.
        photo: I_b, (B, 3, H, W) in [0, 1].
        side: of a tile in pixels; None takes one that suits the device. The network sees photographs of no
            more pixels than such a tile whole.

    Returns:
        I_t, (B, 3, H, W) in [0, 1].
    """
    if side is None:
        side = SIDE if photo.device.type == "cpu" else SIDE_ON_GPU
    if network.illumination_scale > 1:
        small_map = partial(_whole_map, network, side=side)
        return enhance_at_scale(photo, network.illumination_scale, small_map, network.multiple)
    height, width = photo.shape[-2:]
    if min(height, width) == 1:  # a border can't be reflected at a single pixel
        photo = F.pad(photo, (0, int(width == 1), 0, int(height == 1)), mode="replicate")
    if height * width <= side**2:
        return enhance(photo, network(photo))[..., :height, :width]
    # no whole map beside the result
    result = torch.empty_like(photo)
    for place, illumination in tiled_map(network, photo, side):
        result[place] = enhance(photo[place], illumination)
    return result[..., :height, :width]


def _whole_map(network: IlluminationNetwork, small: Tensor, side: int) -> Tensor:
    """``network.illumination(small)``, (B, 1, h, w), in tiles where it has more pixels than one."""
    if small.shape[-2] * small.shape[-1] <= side**2:
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
        yield from map_of_residual_ppm(network, photo, side)
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
    return rounded_up(reach, network.multiple)

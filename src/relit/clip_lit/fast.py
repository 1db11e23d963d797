"""CLIP-LIT's illumination map from a reduced photograph, whatever size it was trained for.

The map comes back to full size along the photograph's edges, as :mod:`relit.clip_lit.guided` explains.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from relit.clip_lit.network import IlluminationNetwork
from relit.clip_lit.strips import enhance_in_strips
from relit.clip_lit.tiled import enhance_any_size

LONG_SIDE = 384
"""Pixels of the reduced photograph."""


@torch.no_grad()
def enhance_fast(network: IlluminationNetwork, photo: Tensor) -> Tensor:
    """I_t of photographs of any size, close to that of the whole ``network`` in a fraction of its time.

    Args:
        network: left as it is.
        photo: I_b, (B, 3, H, W) in [0, 1]; one that is no larger than :data:`LONG_SIDE` is not reduced.

    Returns:
        I_t, (B, 3, H, W) in [0, 1].
    """
    height, width = photo.shape[-2:]
    reduction = LONG_SIDE / max(height, width)
    if reduction >= 1:
        return enhance_any_size(network, photo)
    # a border can't be reflected at a single pixel
    size = [max(2, round(side * reduction)) for side in (height, width)]
    reduced = F.interpolate(photo, size, mode="bilinear", antialias=True)
    return enhance_in_strips(photo, reduced, network(reduced))

"""Enhancement by a trained CLIP-LIT: photographs of any size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from relit.clip_lit.fast import enhance_fast
from relit.clip_lit.network import IlluminationNetwork
from relit.clip_lit.tiled import enhance_any_size
from relit.errors import ConfigurationError
from relit.instantiation import build
from relit.weights import Weights, load_network_weights


class Enhancement:
    """What :func:`relit.clip_lit.network.enhance` makes of photographs by the map of a trained network.

    Args:
        network: trained.
        tile: side of the tiles that large photographs are computed in; None chooses it.
        fast: the map of a reduced photograph instead.
    """

    def __init__(self, network: IlluminationNetwork, tile: int | None = None, fast: bool = False) -> None:
        # as in training: convolutions are a fifth faster so, on CPU
        self.network = network.eval().to(memory_format=torch.channels_last)
        self.tile, self.fast = tile, fast

    def __call__(self, images: Tensor) -> Tensor:
        """I_t in [0, 1] of I_b, (B, 3, H, W) in [0, 1]."""
        if self.fast:
            return enhance_fast(self.network, images)
        return enhance_any_size(self.network, images, side=self.tile)


def load_enhancement(
    weights: Weights,
    metadata: Mapping[str, Any],
    source: str | Path,
    device: torch.device,
    tile: int | None = None,
    fast: bool = False,
) -> Enhancement:
    """An :class:`Enhancement` of a weight file.

    Args:
        weights: its groups.
        metadata: its metadata, with the configuration of the network.
        source: the file, for messages.
        device: where to compute.
        tile: as in :class:`Enhancement`.
        fast: as in :class:`Enhancement`.

    Raises:
        ConfigurationError: there is no enhancer, or it doesn't fit.
    """
    if "enhancer" not in weights:
        raise ConfigurationError(
            f"{source}: holds no enhancer, only {', '.join(weights) or 'nothing'}. Give the "
            "weights.safetensors of a finished run, or of relit import with the network's .pth file."
        )
    network = build(metadata["network"])
    load_network_weights(network, weights["enhancer"], source)
    if fast and network.illumination_scale > 1:
        raise ConfigurationError(
            f"{source}: --fast: this network was trained to see photographs reduced "
            f"{network.illumination_scale} times; it is fast already. Leave --fast out."
        )
    return Enhancement(network.to(device), tile, fast)

"""Exposure correction by a trained CLIP-RestoreX: photographs of any size, the same result every time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from relit.clip import check_clip
from relit.clip_loading import is_torchscript, load_clip
from relit.clip_restorex.model import RestoreX
from relit.clip_restorex.prior import ClipPriors, Priors
from relit.clip_restorex.streaming import of_any_size
from relit.errors import ConfigurationError
from relit.frozen_tower import FrozenTower
from relit.imagenet import load_imagenet_vit
from relit.instantiation import build
from relit.weights import Weights, load_network_weights

PARTS = ("restormer", "priors", "diffusion")
"""Groups of a weight file that are needed for use; a network may be without the latter two."""


class Correction:
    """Corrects photographs, each by its own priors.

    They are made from the whole photograph; the starting noise of the diffusion is always the same.

    Args:
        network: trained.
        clip: what its priors are observed by; None where it has none.
        rows: of the strips that photographs are computed in; None cuts large ones only, as suits the device.
    """

    def __init__(self, network: RestoreX, clip: FrozenTower | None, rows: int | None = None) -> None:
        self.network, self.clip, self.rows = network.eval(), clip, rows

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """I_out in [0, 1] of I_in, (B, 3, H, W) in [0, 1]."""
        return self.by(images, self.network.restored_priors(images, self.clip))

    @torch.no_grad()
    def by_priors_of(self, priors: Priors, reference: Tensor, images: Tensor) -> Tensor:
        """I_out under the reference's priors, as ``priors`` makes them: as if all had been restored."""
        return self.by(images, priors(priors.observe(reference, self.clip)))

    def by(self, images: Tensor, priors: Tensor | None) -> Tensor:
        """I_out in [0, 1] under the given priors, (B, n, D)."""
        return of_any_size(self.network.restormer, images, priors, self.rows).clamp(0, 1)


def missing_parts(network: RestoreX, weights: Weights) -> list[str]:
    """What ``network`` consists of and ``weights`` doesn't hold."""
    return [name for name in PARTS if getattr(network, name) is not None and name not in weights]


def load_parts(network: RestoreX, weights: Weights, source: str | Path) -> RestoreX:
    """``network`` with the parts that ``weights`` holds.

    Raises:
        ConfigurationError: one does not fit.
    """
    for name in PARTS:
        part = getattr(network, name)
        if part is not None and name in weights:
            load_network_weights(part, weights[name], source)
    return network


def load_correction(
    weights: Weights,
    metadata: Mapping[str, Any],
    source: str | Path,
    device: torch.device,
    clip: FrozenTower | Path | None = None,
    rows: int | None = None,
) -> Callable[[Tensor], Tensor]:
    """A :class:`Correction` of a weight file.

    Args:
        weights: its groups.
        metadata: its metadata, with the configuration of the network and the name of the CLIP.
        source: the file, for messages.
        device: where to compute.
        clip: the CLIP the priors were trained with, or the file of its weights; None loads the one that the
            metadata names.
        rows: of a strip, as in :class:`Correction`.

    Raises:
        ConfigurationError: the weights don't fit, or the CLIP is another one or not at hand.
    """
    network = build(metadata["network"])
    if missing := missing_parts(network, weights):
        raise ConfigurationError(
            f"{source}: it has no {missing[0]}, so it is no finished CLIP-RestoreX. Give the "
            "weights.safetensors of a run directory."
        )
    network = load_parts(network, weights, source)
    network = network.to(device).to(memory_format=torch.channels_last)
    if not isinstance(network.priors, ClipPriors):
        return Correction(network, None, rows)
    clip = clip if isinstance(clip, FrozenTower) else _named_clip(metadata, source, clip)
    check_clip(metadata, {"prior": clip.identity}, source)
    return Correction(network, clip.to(device), rows)


def _named_clip(metadata: Mapping[str, Any], source: str | Path, file: Path | None) -> FrozenTower:
    named = metadata.get("clip", {}).get("prior")
    if named is None:
        raise ConfigurationError(f"{source}: it does not name the CLIP of its priors; train it again.")
    if file is not None and not file.is_file():
        raise ConfigurationError(f"{file}: no such file with the weights of a CLIP.")
    if file is None and is_torchscript(Path(named["source"])):
        raise ConfigurationError(
            f"{source}: its priors come from the CLIP in {named['source']}, a TorchScript file, which "
            "may run any code. Where you trust it, name it with --clip FILE."
        )
    place, antialias = str(file or named["source"]), named.get("antialias", True)
    try:
        if timm.is_model(named["model"]):
            return load_imagenet_vit(named["model"], place, antialias)
        return load_clip(named["model"], place, named.get("quick_gelu"), antialias)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{source}: its priors come from the CLIP {named['model']} ({named['source']}), which can't be "
            f"loaded here. Where its weights are in a file, name it with --clip FILE.\n{error}"
        ) from error

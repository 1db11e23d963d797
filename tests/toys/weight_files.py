"""Finished weight files of both methods, of networks small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from relit.clip_lit.network import initialise
from relit.clip_loading import load_clip
from relit.clip_restorex.model import RestoreX
from relit.instantiation import build
from relit.keyed import keyed_generator
from relit.weights import write_weights

ENHANCERS: dict[str, dict[str, Any]] = {
    "ResidualPPM": {
        "_target_": "relit.clip_lit.network.ResidualPPM",
        "padding": "zeros",
        "initial_map": 0.4,
    },
    "UNet": {"_target_": "relit.clip_lit.network.UNet", "channels": [4, 6], "initial_map": 0.4},
}

RESTOREX: dict[str, Any] = {
    "_target_": "relit.clip_restorex.model.RestoreX",
    "restormer": {
        "_target_": "relit.clip_restorex.restormer.Restormer",
        "_partial_": True,
        "dim": 8,
        "blocks": [1, 1, 1, 1],
        "heads": [1, 1, 1, 1],
        "refinement": 1,
    },
    "priors": {
        "_target_": "relit.clip_restorex.prior.ClipPriors",
        "width": 96,
        "blocks": [3, 6, 9, 12],
        "length": 16,
    },
    "diffusion": {
        "_target_": "relit.clip_restorex.diffusion.PriorDiffusion",
        "_partial_": True,
        "denoiser": {
            "_target_": "relit.clip_restorex.denoisers.ComplexDenoiser",
            "_partial_": True,
            "hidden": 16,
            "layers": 1,
        },
        "steps": 2,
    },
}


def write_enhancer(path: Path, node: dict[str, Any], **metadata: Any) -> nn.Module:
    """Write what a run of CLIP-LIT leaves, and return its network, whose map differs from place to place.

    Its memory layout is that of enhancement, so that results can be compared without any tolerance.
    """
    network: nn.Module = build(node)
    initialise(network, keyed_generator("enhancer"))
    with torch.no_grad():
        network.output.weight.mul_(50)
    told = {"method": "clip_lit", "network": node, "clip": {}, "run": "toy", "steps": 3, **metadata}
    write_weights(path, {"enhancer": network.state_dict()}, told)
    return network.eval().to(memory_format=torch.channels_last)


def write_restorex(path: Path, **metadata: Any) -> RestoreX:
    """Write what a run of CLIP-RestoreX leaves, under the embedded CLIP, and return its network."""
    network: RestoreX = build(RESTOREX)
    generator = keyed_generator("restorex")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator) - 0.5 * parameter)
    groups = {
        "restormer": network.restormer.state_dict(),
        "priors": network.priors.state_dict(),
        "diffusion": network.diffusion.state_dict(),
    }
    clip = {"prior": load_clip("tiny-ViT", "embedded").identity.as_dict()}
    told = {
        "method": "clip_restorex",
        "network": RESTOREX,
        "clip": clip,
        "run": "toy",
        "steps": 3,
        **metadata,
    }
    write_weights(path, groups, told)
    return network.eval()

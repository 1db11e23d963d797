"""A run directory as a finished run of CLIP-LIT leaves it, written in a moment, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from relit.clip_lit.network import UNet, initialise
from relit.clip_lit.prompts import PromptPair
from relit.clip_loading import load_clip
from relit.keyed import keyed_generator
from relit.plan import expand_plan
from relit.run_settings import binding_settings
from relit.run_state import FinishedStage, RunState, write_state
from relit.weights import Weights, write_weights

NETWORK = {"_target_": "relit.clip_lit.network.UNet", "channels": [4, 4], "initial_map": 0.5}
SCALE = 20
LEARNED = {"_target_": "relit.clip_lit.prompts.PromptPair", "_partial_": True, "context": 4}
PLAN = [
    "prompt_initialisation",
    "enhancement",
    {"repeat": 2, "stages": ["prompt_refinement", "tuning"]},
]
MODULES = {
    "prompt_initialisation": "prompt_stages.PromptInitialisation",
    "enhancement": "enhancer_stages.Enhancement",
    "prompt_refinement": "prompt_stages.PromptRefinement",
    "tuning": "enhancer_stages.Enhancement",
}


def settings(tower: str, prompts: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the run: sample photographs, 12 of them to test on."""
    clip = {"_target_": "relit.clip_loading.load_clip", "model": tower, "pretrained": "embedded"}
    return {
        "name": "lit",
        "seed": 0,
        "data": {
            "_target_": "relit.data.sample.SamplePhotos",
            **{"size": 32, "test_size": 64, "batch_size": 1, "images": False, "seed": 0},
            **{"crops": 2, "procedural": 1},
        },
        "clip": {"prompts": clip, "logit_scale": SCALE, "phrases": ["dark", "well-lit"]},
        "network": NETWORK,
        "plan": PLAN,
        "stage": {
            name: {
                "module": {
                    "_target_": f"relit.clip_lit.{target}",
                    "prompts": prompts,
                    "logit_scale": SCALE,
                },
                "steps": 1,
            }
            for name, target in MODULES.items()
        },
    }


def enhancer(key: str) -> UNet:
    """A network whose maps differ from pixel to pixel, drawn by ``key``."""
    network = UNet(channels=(4, 4), initial_map=0.5)
    initialise(network, keyed_generator(key))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=keyed_generator(key, "noise"))
    return network.eval()


def lit_run(folder: Path, tower: str = "tiny-ViT", **changes: Any) -> Path:
    """Write a run of two rounds; each stage left other prompts, or another enhancer, than the one before.

    Args:
        folder: the run's directory.
        tower: image tower of the embedded CLIP.
        changes: ``prompts`` (the node of every stage), or top-level keys of the configuration.
    """
    config = {**settings(tower, changes.pop("prompts", LEARNED)), **changes}
    clip = load_clip(tower, "embedded")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config))
    plan = expand_plan(config["plan"])
    weights: Weights = {}
    names = {"prompts": clip.identity.as_dict()}
    for stage in plan:
        if stage.name.startswith("prompt"):
            pair = PromptPair(clip, context=4, generator=keyed_generator(stage.folder))
            weights["prompts"] = pair.weights()
        else:
            weights["enhancer"] = enhancer(stage.folder).state_dict()
        write_weights(folder / "stages" / stage.folder / "weights.safetensors", weights, {"clip": names})
    metadata = {"method": "clip_lit", "network": NETWORK, "clip": names}
    write_weights(folder / "weights.safetensors", weights, metadata)
    stages = [FinishedStage(stage.index, stage.name, 1) for stage in plan]
    write_state(folder, RunState("id", binding_settings(config), stages))
    return folder

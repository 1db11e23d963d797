"""A run directory as a finished run of CLIP-RestoreX leaves it, written in a moment, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from small_restorex import composed

from relit.clip_loading import load_clip
from relit.clip_restorex.correction import PARTS
from relit.instantiation import build
from relit.plan import expand_plan
from relit.run_settings import binding_settings
from relit.run_state import FinishedStage, RunState, write_state
from relit.weights import Weights, write_weights


def restorex_run(folder: Path, *overrides: str, seed: int = 0) -> Path:
    """Write a run with random weights; its training set has the scenes of ``data=sample_pairs``."""
    config: Any = OmegaConf.to_container(composed(folder, *overrides), resolve=True)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config))
    torch.manual_seed(seed)
    network = build(config["network"])
    weights: Weights = {
        name: getattr(network, name).state_dict() for name in PARTS if getattr(network, name) is not None
    }
    names = {"prior": load_clip("tiny-ViT", "embedded").identity.as_dict()}
    plan = expand_plan(config["plan"])
    write_weights(folder / "stages" / plan[-1].folder / "weights.safetensors", weights, {"clip": names})
    metadata = {"method": "clip_restorex", "network": config["network"], "clip": names}
    write_weights(folder / "weights.safetensors", weights, metadata)
    stages = [FinishedStage(stage.index, stage.name, 1) for stage in plan]
    write_state(folder, RunState("id", binding_settings(config), stages))
    return folder

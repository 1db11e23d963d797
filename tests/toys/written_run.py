"""A run directory as a run of CLIP-RestoreX leaves it, written in a moment, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from relit.data.photo import write_png
from relit.grids import before_after
from relit.metrics_file import write_metrics
from relit.run_settings import binding_settings
from relit.run_state import FinishedStage, RunState, write_state

LOG = "epoch,reference_priors/loss,restored_priors/l1,restored_priors/loss,val/psnr,step\n" + "".join(
    [
        *(f"0,{1 / (step + 1)},,,,{step}\n" for step in range(40)),
        "0,,0.5,0.75,,40\n",
        "0,,0.25,0.5,,41\n",
        "0,,,,18.5,41\n",
    ]
)
SIZE = (40, 64)


def pictures(seed: int) -> dict[str, Tensor]:
    """Input, result and reference of one photograph, (1, 3, H, W) in [0, 1]: smooth, dark to light."""
    down, across = (torch.linspace(0, 1, side) for side in SIZE)
    photo = torch.stack([down[:, None].expand(SIZE), across.expand(SIZE), torch.full(SIZE, seed % 7 / 7)])
    return {"input": photo[None] * 0.3, "result": photo[None] * 0.6, "reference": photo[None] * 0.9}


def figures(seed: int) -> dict[str, Any]:
    """``metrics.json`` of a run whose result is the better the higher its seed."""
    kinds = {
        "input": {"psnr": 14.293896675109863, "ssim": 0.7212297916412354},
        "result": {"psnr": 20.74127769470215 + seed, "ssim": 0.8177404999732971},
        "by_reference_priors": {"psnr": None, "ssim": 1.0},
    }
    under = {kind: {name: value and value / 2 for name, value in of.items()} for kind, of in kinds.items()}
    return {
        "protocol": {"name": "rgb8", "description": "Images rounded to 8 bits, RGB & more.", "test_size": 64},
        "seed": seed,
        "steps": 42,
        "data": "test",
        "images": 3,
        **kinds,
        "by_label": {"under": under},
    }


def written_run(folder: Path, seed: int = 0, **settings: Any) -> Path:
    """Write a finished run of two stages with three samples and a log; ``settings`` are added to its own."""
    config = {
        "name": folder.name,
        "seed": seed,
        "plan": ["reference_priors", "restored_priors"],
        "stage": {
            name: {"module": {"_target_": f"relit.clip_restorex.restormer_stages.{target}"}, "steps": 40}
            for name, target in (
                ("reference_priors", "ReferencePriors"),
                ("restored_priors", "RestoredPriors"),
            )
        },
        **settings,
    }
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config))
    stages = [
        FinishedStage(1, "reference_priors", 40, ended="2026-03-04T04:05:06+00:00"),
        FinishedStage(2, "restored_priors", 2, ended="2026-03-04T05:06:07+00:00"),
    ]
    write_state(folder, RunState("id", binding_settings(config), stages))
    write_metrics(folder, figures(seed))
    for place in range(3):
        shown = pictures(place)
        shown["result"] = (shown["result"] + seed / 100).clamp(0, 1)
        write_png(folder / "samples" / f"photo{place}.png", before_after(shown))
    log = folder / "logs" / "version_0" / "metrics.csv"
    log.parent.mkdir(parents=True)
    log.write_text(LOG)
    return folder

"""CLIP-RestoreX's experiments as people compose them, at sizes that train in seconds without a download."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

CONF = Path(__file__).resolve().parents[2] / "conf"

STAGES = ("reference_priors", "prior_warm_up", "restored_priors")
STEPS = 2
SMALL = [
    "experiment=clip_restorex_small",
    "data=sample_pairs",
    "data.size=32",
    "data.crop=16",
    "data.crops=6",
    "data.procedural=0",
    "data.exposures=1",
    "data.test_size=40",
    "trainer=cpu",
    "trainer.log_every_n_steps=1",
    "progress=false",
    "network.restormer.dim=8",
    "network.restormer.blocks=[1,1,1,1]",
    "network.restormer.heads=[1,2,2,2]",
    "network.priors.length=16",
    "network.diffusion.denoiser.hidden=16",
    "stage.reference_priors.module.scheduler.warmup=0",
    *(f"stage.{name}.steps={STEPS}" for name in STAGES),
    *(f"stage.{name}.data.{key}" for name in STAGES[::2] for key in ("crop=16", "batch_size=2")),
]


def composed(run_dir: Path, *overrides: str) -> DictConfig:
    """The laptop's experiment with tiny sizes, as train.py composes it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        # only a Hydra job knows these two
        place = ["name=small", f"runs={run_dir.parent}", f"run_dir={run_dir}"]
        return compose("train", [*SMALL, *place, *overrides])


def logged(run_dir: Path, name: str) -> list[float]:
    """The values of a metric, in the order they were logged."""
    with (run_dir / "logs" / "version_0" / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def batch_at(datamodule: Any, step: int) -> dict[str, Any]:
    """The training batch of a step, as the stage gets it."""
    datamodule.setup()
    batch = next(batch for place, batch in enumerate(datamodule.train_dataloader()) if place == step)
    moved: dict[str, Any] = datamodule.on_after_batch_transfer(batch, 0)
    return moved

"""A stage small enough to be trained to the last bit in a test: linear regression on keyed random points."""

from __future__ import annotations

import builtins
import json
import math
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import LightningDataModule, LightningModule
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from relit.data.sampling import PositionSampler
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator
from relit.run_context import RunContext
from relit.stage_context import StageContext
from relit.weights import Weights

WIDTH = 4


class Points(Dataset[dict[str, Tensor]]):
    """Position -> a point on a noisy plane; the plane is the same for all positions."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        generator = keyed_generator(self.seed, "point", position)
        x = torch.randn(WIDTH, generator=generator)
        y = x.sum() + 0.1 * torch.randn((), generator=generator)
        return {"position": torch.tensor(position), "x": x, "y": y}


class ToyPoints(LightningDataModule):
    """Endless batches that begin at the trainer's step, as the photographs' data module gives them."""

    def __init__(self, batch_size: int, seed: int = 0, num_workers: int = 0) -> None:
        super().__init__()
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        assert self.trainer is not None
        sampler = PositionSampler(
            self.batch_size, self.trainer.global_step, self.trainer.global_rank, self.trainer.world_size
        )
        return DataLoader(Points(self.seed), batch_sampler=sampler, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Eight points that training may see, too; a share for each rank."""
        rank, count = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        points = Subset(Points(self.seed), range(rank, 8, count))
        return DataLoader(points, batch_size=8, generator=torch.Generator())


class ToyStage(LightningModule):
    """Continues the line of the stage before, and notes every position it was trained on.

    Args:
        context: from the runner.
        lr: Adam's learning rate.
        interrupt: what befalls it, once (a marker file keeps it from happening twice): a signal's name, an
            exception's, ``NaN``, or ``dead worker``.
        interrupt_at: step after which it does, 0 while the module is built; None trains on.

    Whatever they are, the process kills itself after the step that TOY_DIES_AT in its environment names, and
    rests for TOY_PAUSE seconds after each.
    """

    def __init__(
        self,
        context: StageContext,
        lr: float = 0.05,
        interrupt: str = "KeyboardInterrupt",
        interrupt_at: int | None = None,
        interrupt_stage: int = 2,
        interrupt_rank: int = 0,
    ) -> None:
        super().__init__()
        self.context, self.lr = context, lr
        self.interrupt, self.interrupt_at = interrupt, interrupt_at
        self.interrupt_stage, self.interrupt_rank = interrupt_stage, interrupt_rank
        self.line = nn.Linear(WIDTH, 1)
        if "line" in context.weights:
            self.line.load_state_dict(context.weights["line"])
        self._befall(0)

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        loss = (self.line(batch["x"])[:, 0] - batch["y"]).square().mean()
        if self.interrupt == "NaN" and self._struck(self.global_step + 1):
            loss = loss * math.nan
        self.log("toy/loss", loss, prog_bar=True)
        seen = {
            "stage": self.context.index,
            "step": self.global_step,
            "positions": batch["position"].tolist(),
        }
        with (self.context.run_dir / f"seen-{self.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps(seen) + "\n")
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        error = (self.line(batch["x"])[:, 0] - batch["y"]).square().mean()
        self.log("val/error", error, sync_dist=True)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if os.environ.get("TOY_DIES_AT") == str(self.global_step):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(os.environ.get("TOY_PAUSE", 0)))
        self._befall(self.global_step)

    def _befall(self, step: int) -> None:
        if self.interrupt == "NaN" or not self._struck(step):
            return
        if self.interrupt.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, self.interrupt))
        elif self.interrupt == "dead worker":
            # the youngest: processes of other tests may live on
            worker = max(multiprocessing.active_children(), key=lambda child: child.pid or 0)
            worker.kill()
            worker.join()
        else:
            raise getattr(builtins, self.interrupt)

    def _struck(self, step: int) -> bool:
        """Whether it is this step's turn, the first time."""
        marker = self.context.run_dir / "interrupted"
        here = (self.context.index, step) == (self.interrupt_stage, self.interrupt_at)
        rank = dist.get_rank() if dist.is_initialized() else 0
        if not here or rank != self.interrupt_rank or marker.exists():
            return False
        marker.touch()
        return True

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def handover(self) -> Weights:
        return {"line": self.line.state_dict(), f"after_{self.context.index}": {"bias": self.line.bias}}


def report(context: RunContext) -> dict[str, float]:
    """Distance of the learned line from the true plane."""
    distance = (context.weights["line"]["weight"] - 1).abs().max()
    (context.run_dir / "metrics.json").write_text(json.dumps({"distance": float(distance)}))
    return {"toy/distance": float(distance)}


def refuse() -> None:
    """A constructor that finds its input wrong."""
    raise ConfigurationError("clip.pretrained: no such file")


def toy_config(run_dir: Path, **changes: Any) -> DictConfig:
    """Configuration of three toy stages: first, then second in two rounds; ``changes`` by dotted key."""
    stage: dict[str, Any] = {
        "module": {"_target_": "toy_regression.ToyStage"},
        "data": {},
        "steps": 12,
        "extend": None,
        "trainer": {},
    }
    cfg = OmegaConf.create(
        {
            "name": "toy",
            "seed": 0,
            "runs": str(run_dir.parent),
            "run_dir": str(run_dir),
            "fresh": False,
            "train": True,
            "start": None,
            "checkpoint_every": 5,
            "progress": False,
            "threads": None,
            "monitor": None,
            "plan": ["first", {"repeat": "${rounds}", "stages": ["second"]}],
            "rounds": 2,
            "stage": {"first": stage, "second": stage},
            "network": None,
            "clip": None,
            "data": {"_target_": "toy_regression.ToyPoints", "batch_size": 4, "num_workers": 0},
            "trainer": {"accelerator": "cpu", "devices": 1, "log_every_n_steps": 1},
            "logger": {"_target_": "relit.loggers.csv_logger"},
            "finish": [{"_target_": "toy_regression.report"}],
        }
    )
    for key, value in changes.items():
        OmegaConf.update(cfg, key.replace("__", "."), value, merge=False)
    OmegaConf.set_struct(cfg, True)  # as Hydra does
    return cfg

"""What all stages of CLIP-RestoreX share. Each is a thin LightningModule over the parts of a RestoreX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import lightning as L
import torch
from torch import Tensor, nn

from relit.clip_restorex.checks import check_priors
from relit.clip_restorex.model import RestoreX
from relit.errors import ConfigurationError
from relit.frozen_tower import FrozenTower
from relit.stage_context import StageContext
from relit.weights import load_network_weights

Optimizer = Callable[..., torch.optim.Optimizer]
Scheduler = Callable[..., torch.optim.lr_scheduler.LRScheduler]
Batch = Mapping[str, Any]
Part = TypeVar("Part", bound=nn.Module)

START_REMEDY = (
    "Put reference_priors before it in the plan, or give "
    "start=RUN/stages/1-reference_priors/weights.safetensors."
)


class CorrectionStage(L.LightningModule):
    """A stage with the parts of the configured network, the frozen CLIPs, optimizer and schedule.

    Args:
        context: the stage's place in the run.
        optimizer: called with the parameters that are trained.
        scheduler: called with the optimizer.

    Attributes:
        prior_clip: what priors are observed by, the role ``prior``; None where there are none.
    """

    def __init__(self, context: StageContext, optimizer: Optimizer, scheduler: Scheduler) -> None:
        super().__init__()
        self.stage, self.seed = context.name, context.seed
        self.optimizer, self.scheduler = optimizer, scheduler
        self.prior_clip: FrozenTower | None = context.clip.get("prior")

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"},
        }

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """CLIP-RestoreX Eq. (10): the sum of the terms, logged with each of them."""
        total = torch.stack(list(losses.values())).sum()
        self.log_dict({f"{self.stage}/{name}": loss.detach() for name, loss in losses.items()})
        self.log(f"{self.stage}/loss", total.detach(), prog_bar=True)
        return total


def network_of(context: StageContext) -> RestoreX:
    """A new network as configured, its parts not yet trained.

    Raises:
        ConfigurationError: it has other parts than a RestoreX, or priors that no configured CLIP can give.
    """
    network = context.network()
    if not isinstance(network, RestoreX):
        raise ConfigurationError(
            f"network._target_: stage.{context.name} trains a relit.clip_restorex.model.RestoreX, not a "
            f"{type(network).__name__}."
        )
    check_priors(network.priors, context.clip)
    return network


def continued(part: Part, context: StageContext, group: str, required: bool = False) -> Part:
    """``part`` with the weights handed over as ``group``.

    Raises:
        ConfigurationError: they are ``required`` and not there, or don't fit.
    """
    if group in context.weights:
        load_network_weights(part, context.weights[group], f"stage.{context.name}: the {group} handed over")
    elif required:
        raise ConfigurationError(
            f"stage.{context.name} goes on from stage 1, but no {group} was handed over. {START_REMEDY}"
        )
    return part


def pair_of(batch: Batch) -> tuple[Tensor, Tensor]:
    """I_in and I_gt of a batch, (B, 3, H, W) in [0, 1]."""
    return cast("Tensor", batch["input"]) / 255, cast("Tensor", batch["reference"]) / 255

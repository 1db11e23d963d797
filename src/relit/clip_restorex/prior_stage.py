"""The warm-up of stage 2: priors are restored before the Restormer relies on them."""

from __future__ import annotations

from torch import Tensor
from torchmetrics import Metric

from relit.clip_restorex.correction_stage import (
    Batch,
    CorrectionStage,
    Optimizer,
    Scheduler,
    network_of,
    pair_of,
)
from relit.clip_restorex.losses import prior_loss
from relit.clip_restorex.prior_restorer import PriorRestorer
from relit.metrics import MeanOverImages
from relit.stage_context import StageContext
from relit.weights import Weights


class PriorWarmUp(CorrectionStage):
    """CLIP-RestoreX Eq. (8) alone, as DiffIR begins its second stage: no Restormer is run.

    Args:
        context: brings ``reference_priors`` of stage 1.
        optimizer: called with the parameters of converter and diffusion.
        scheduler: called with the optimizer.
        noise_weight: weight of Eq. (6); 0 leaves it out.
    """

    def __init__(
        self, context: StageContext, optimizer: Optimizer, scheduler: Scheduler, noise_weight: float
    ) -> None:
        super().__init__(context, optimizer, scheduler)
        self.restorer = PriorRestorer(network_of(context), context, noise_weight)
        self.error: Metric = MeanOverImages()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        inputs, reference = pair_of(batch)
        _, losses, _ = self.restorer.learn(inputs, reference, self.prior_clip, batch["position"].tolist())
        return self.total(losses)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """L_p of a whole pair, from noise alone as at inference."""
        inputs, reference = pair_of(batch)
        target = self.restorer.reference_priors(self.restorer.priors.observe(reference, self.prior_clip))
        self.error.update(prior_loss(self.restorer(inputs, self.prior_clip), target)[None])

    def on_validation_epoch_end(self) -> None:
        """Log the mean over pairs."""
        self.log("val/prior", self.error.compute(), sync_dist=True)
        self.error.reset()

    def handover(self) -> Weights:
        return self.restorer.handover()

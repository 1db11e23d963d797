"""The stages that train a Restormer: plain, by the reference's priors (stage 1), by restored ones (2)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor

from relit.clip_restorex.checks import check_sap
from relit.clip_restorex.correction_stage import (
    Batch,
    CorrectionStage,
    Optimizer,
    Scheduler,
    continued,
    network_of,
    pair_of,
)
from relit.clip_restorex.losses import StructureAndPerceptionLoss, reconstruction_loss
from relit.clip_restorex.model import RestoreX
from relit.clip_restorex.perception import Perception
from relit.clip_restorex.prior_restorer import PriorRestorer
from relit.clip_restorex.streaming import of_any_size
from relit.errors import ConfigurationError
from relit.metrics import PairMetrics, round_to_8_bits
from relit.stage_context import StageContext
from relit.validation_pictures import PICTURES, ValidationPictures, spread
from relit.weights import Weights


class RestormerStage(CorrectionStage):
    """Trains a Restormer on ``|| I_gt - I_out ||_1`` and, if there is one, L_SAP.

    Args:
        context: the stage's place in the run. The Restormer starts from the one handed over, or anew.
        optimizer: called with the parameters that are trained.
        scheduler: called with the optimizer.
        sap: L_SAP, Eq. (9); None leaves it out.
    """

    figures = ""
    """Behind the names of validation's figures: what they are, if not results."""

    def __init__(
        self,
        context: StageContext,
        optimizer: Optimizer,
        scheduler: Scheduler,
        sap: StructureAndPerceptionLoss | None,
    ) -> None:
        super().__init__(context, optimizer, scheduler)
        network = network_of(context)
        self.restormer = continued(network.restormer, context, "restormer")
        # a function, not a module: its parameters are the Restormer's
        self._train_forward = context.compiled(self.restormer.forward)
        self.perception = None if sap is None else Perception(sap, context.clip["sap"])
        self.scores = PairMetrics(prefix="val/", postfix=self.figures)
        self.pictures = ValidationPictures()
        self.hold(network, context)

    def hold(self, network: RestoreX, context: StageContext) -> None:
        """Keep what else of the network the stage trains; the rest of it is dropped."""

    @classmethod
    def check(cls, key: str, settings: Mapping[str, Any], round_: int, clip: Mapping[str, Any]) -> None:
        """Refuse, before anything is trained, an L_SAP that its CLIP can't judge."""
        if settings.get("sap") is not None:
            check_sap(f"{key}.sap", settings["sap"], clip)

    def configure_optimizers(self) -> Any:
        """As every stage; after each step flat areas stay flat, see :meth:`Upsample.level`."""
        found = super().configure_optimizers()
        found["optimizer"].register_step_post_hook(lambda *_: self.restormer.level())
        return found

    def corrected(self, images: Tensor, priors: Tensor | None) -> Tensor:
        """I_out, not clipped, of training crops, or of whole photographs of any size."""
        if self.training:
            return cast("Tensor", self._train_forward(images, priors))
        return of_any_size(self.restormer, images, priors)

    def image_losses(self, result: Tensor, reference: Tensor, seen: Tensor | None) -> dict[str, Tensor]:
        """The terms of Eq. (10) that compare photographs; ``seen`` as in :class:`Perception`."""
        losses = {"l1": reconstruction_loss(result, reference)}
        if self.perception is not None:
            losses["sap"] = self.perception(result, reference, seen)
        return losses

    @abstractmethod
    def result(self, inputs: Tensor, reference: Tensor) -> Tensor:
        """I_out of whole photographs (1, 3, H, W), as the stage is validated."""

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure one pair, and show some of them."""
        inputs, reference = pair_of(batch)
        result = round_to_8_bits(self.result(inputs, reference))
        self.scores.update(result, reference)
        if batch_idx in spread(PICTURES, int(self.trainer.num_val_batches[0])):
            shown = {"input": inputs, "result": result, "reference": reference}
            self.pictures.add(batch["name"][0], shown)

    def on_validation_epoch_end(self) -> None:
        """Log PSNR and SSIM over all pairs, and a few results as pictures."""
        self.log_dict(self.scores.compute(), sync_dist=True)
        self.scores.reset()
        self.pictures.log(self)

    def handover(self) -> Weights:
        return {"restormer": self.restormer.state_dict()}


class PlainRestoration(RestormerStage):
    """A Restormer without priors, the first two rows of Table 3."""

    def hold(self, network: RestoreX, context: StageContext) -> None:
        """Keep nothing else."""
        if network.priors is not None:
            raise ConfigurationError(
                f"network.priors: stage.{context.name} has no use for them; set network.priors=null and "
                "network.diffusion=null, as ablation=restorex_plain_sap does."
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        inputs, reference = pair_of(batch)
        return self.total(self.image_losses(self.corrected(inputs, None), reference, None))

    def result(self, inputs: Tensor, reference: Tensor) -> Tensor:
        return self.corrected(inputs, None)


class ReferencePriors(RestormerStage):
    """Stage 1: the reference's own priors modulate the Restormer; it and the converter are trained.

    Validation is given the reference's priors, too, which nobody has at inference. So its figures are
    no results and called ``val/psnr_by_reference_priors``, ``val/ssim_by_reference_priors``.
    """

    figures = "_by_reference_priors"

    def hold(self, network: RestoreX, context: StageContext) -> None:
        """Keep the converter."""
        if network.priors is None:
            raise ConfigurationError(
                f"network.priors: stage.{context.name} needs some; a plain Restormer is "
                "ablation=restorex_plain."
            )
        self.reference_priors = continued(network.priors, context, "reference_priors")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        inputs, reference = pair_of(batch)
        observed = self.reference_priors.observe(reference, self.prior_clip)
        known = self.perception is not None and self.perception.knows(self.reference_priors, self.prior_clip)
        result = self.corrected(inputs, self.reference_priors(observed))
        return self.total(self.image_losses(result, reference, observed if known else None))

    def result(self, inputs: Tensor, reference: Tensor) -> Tensor:
        observed = self.reference_priors.observe(reference, self.prior_clip)
        return self.corrected(inputs, self.reference_priors(observed))

    def handover(self) -> Weights:
        return {**super().handover(), "reference_priors": self.reference_priors.state_dict()}


class RestoredPriors(RestormerStage):
    """Stage 2: restored priors of the input modulate the Restormer; all is trained on Eq. (10).

    Args:
        args: as in :class:`RestormerStage`.
        noise_weight: weight of Eq. (6), which Eq. (10) has no room for; 0 leaves it out.
        options: as in :class:`RestormerStage`.
    """

    def __init__(self, *args: Any, noise_weight: float, **options: Any) -> None:
        self.noise_weight = noise_weight
        super().__init__(*args, **options)

    def hold(self, network: RestoreX, context: StageContext) -> None:
        """Keep converter and diffusion, and stage 1's converter as their target."""
        self.restorer = PriorRestorer(network, context, self.noise_weight)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        inputs, reference = pair_of(batch)
        restored, losses, observed = self.restorer.learn(
            inputs, reference, self.prior_clip, batch["position"].tolist()
        )
        known = self.perception is not None and self.perception.knows(self.restorer.priors, self.prior_clip)
        result = self.corrected(inputs, restored)
        return self.total({**losses, **self.image_losses(result, reference, observed if known else None)})

    def result(self, inputs: Tensor, reference: Tensor) -> Tensor:
        return self.corrected(inputs, self.restorer(inputs, self.prior_clip))

    def handover(self) -> Weights:
        return {**super().handover(), **self.restorer.handover()}

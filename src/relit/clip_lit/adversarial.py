"""CLIP-LIT's ablation of Table 5: EnlightenGAN's adversarial loss in place of L_clip.

The paper says that the discriminator is EnlightenGAN's, no more; how its loss is weighted, and that the
identity loss stays, are choices made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from relit.clip_lit.adversarial_losses import (
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
)
from relit.clip_lit.discriminator import GlobalLocalDiscriminator, initialise
from relit.clip_lit.enhancer_stages import Batch, EnhancerStage, Optimizer
from relit.clip_lit.losses import IdentityLoss, enhancement_loss
from relit.data.augmentation import Augmentation
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator
from relit.weights import Weights, load_network_weights

if TYPE_CHECKING:
    from relit.data.unpaired import UnpairedPhotos
    from relit.stage_context import StageContext


class Adversarial(EnhancerStage):
    """Train the network until its results pass for well-lit photographs: Eq. (5) without CLIP's prompts.

    One optimizer steps both sides at once, see :func:`adversarial_losses`; each keeps its own learning rate.

    Args:
        context: as in :class:`EnhancerStage`. The discriminators start from those handed over, or anew.
        optimizer: called with two groups of parameters, the network's and the discriminators'.
        augmentation: of the backlit photographs and of the well-lit ones, each under its own transform.
        identity: Eq. (4) with its layer weights.
        discriminator: judges results and well-lit photographs; its weights are drawn anew here.
        adversarial_weight: weight of the adversarial loss, which has the place of L_clip in Eq. (5).
        identity_weight: w of Eq. (5).
        discriminator_lr: learning rate of the discriminators.
        discriminator_betas: Adam's, for the discriminators.
    """

    def __init__(
        self,
        context: StageContext,
        optimizer: Optimizer,
        augmentation: Augmentation,
        identity: IdentityLoss,
        discriminator: GlobalLocalDiscriminator,
        adversarial_weight: float,
        identity_weight: float,
        discriminator_lr: float,
        discriminator_betas: Sequence[float],
    ) -> None:
        super().__init__(context, optimizer, augmentation, identity)
        self.discriminator = discriminator
        initialise(self.discriminator, keyed_generator(context.seed, "discriminator"))
        if "discriminator" in context.weights:
            source = f"stage.{context.name}: the discriminator handed over"
            load_network_weights(self.discriminator, context.weights["discriminator"], source)
        self.adversarial_weight = adversarial_weight
        self.identity_weight = identity_weight
        self.discriminator_lr = discriminator_lr
        self.discriminator_betas = discriminator_betas

    def on_fit_start(self) -> None:
        """Refuse photographs that are smaller than a patch."""
        super().on_fit_start()
        size, patch = self._photos.size, self.discriminator.patch
        if size < patch:
            raise ConfigurationError(
                f"data.size={size}: the discriminator judges patches of {patch} pixels. "
                f"Set data.size={patch} or more."
            )

    def references(self, batch: Batch) -> Tensor:
        """The batch's well-lit photographs, (B, 3, S, S) in [0, 1], each under its own transform."""
        images = torch.stack([self._photos.well_lit[i] for i in batch["well_lit"].tolist()])
        theta = self.augmentation.matrices(batch["position"], self.seed, "reference")
        return self.augmentation.apply(images.to(self.device).float() / 255, theta)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, references = self.augmented(batch), self.references(batch)
        results = self(images)
        at_results, at_references = (
            self.discriminator.draw_corners(batch["position"], images.shape[-1], self.seed, kind)
            for kind in ("result", "reference")
        )
        generator, discriminator = adversarial_losses(
            self.discriminator, results, references, at_results, at_references
        )
        identity = self.identity_term(images, results)
        loss = enhancement_loss(generator, identity, self.identity_weight, self.adversarial_weight)
        terms = {"generator": generator, "discriminator": discriminator, "identity": identity}
        self.log_dict({f"adversarial/{name}": value for name, value in terms.items()})
        self.log("adversarial/loss", loss, prog_bar=True)
        return loss + discriminator

    def configure_optimizers(self) -> torch.optim.Optimizer:
        judges = {
            "params": self.discriminator.parameters(),
            "lr": self.discriminator_lr,
            "betas": self.discriminator_betas,
            # the network's may differ; EnlightenGAN has none
            "weight_decay": 0.0,
        }
        return self.optimizer([{"params": self.network.parameters()}, judges])

    def handover(self) -> Weights:
        return {**super().handover(), "discriminator": self.discriminator.state_dict()}

    @property
    def _photos(self) -> UnpairedPhotos:
        return cast("UnpairedPhotos", cast(Any, self.trainer).datamodule)


def adversarial_losses(
    discriminator: GlobalLocalDiscriminator,
    results: Tensor,
    references: Tensor,
    at_results: Tensor,
    at_references: Tensor,
) -> tuple[Tensor, Tensor]:
    """The adversarial loss of the network, and the loss of the discriminators: L_global + L_local each.

    EnlightenGAN steps the generator, then the discriminators on the results made before that step. So both
    gradients belong to the same weights, and neither loss here reaches the other's parameters: one backward
    pass of their sum, and one step of an optimizer such as Adam, are EnlightenGAN's two.

    Args:
        discriminator: judges both.
        results: I_t, (B, 3, S, S) in [0, 1].
        references: well-lit photographs of other scenes, the same shape and range.
        at_results: corners of the patches of the results, (B, P, 2).
        at_references: corners of those of the references.

    Returns:
        Two scalars >= 0. The first has no gradient for the discriminators, the second none for the results.
    """
    real = discriminator(references, at_references)
    fake = discriminator(results.detach(), at_results)
    passing = discriminator.score_with_fixed_weights(results, at_results)
    generator = relativistic_generator_loss(real.whole.detach(), passing.whole)
    generator = generator + least_squares_generator_loss(passing.patches)
    judging = relativistic_discriminator_loss(real.whole, fake.whole)
    judging = judging + least_squares_discriminator_loss(real.patches, fake.patches)
    return generator, judging

"""The stages of CLIP-LIT that train the enhancement network, against frozen CLIPs.

Each trains the network and hands it over as ``enhancer``; tuning also hands over the one that it began with,
as ``previous_enhancer``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor

from relit.clip import FrozenClip
from relit.clip_lit.losses import (
    IdentityLoss,
    clip_enhance_loss,
    enhancement_loss,
    negative_similarity,
)
from relit.clip_lit.network import IlluminationNetwork, enhance, initialise
from relit.clip_lit.prompts import FixedPrompts, PromptPair
from relit.clip_lit.scores import Scores, bounded
from relit.data.augmentation import Augmentation
from relit.errors import ConfigurationError
from relit.instantiation import build
from relit.keyed import keyed_generator
from relit.metrics import round_to_8_bits
from relit.stage_context import StageContext
from relit.validation_pictures import ValidationPictures
from relit.weights import Weights, load_network_weights

Optimizer = Callable[..., torch.optim.Optimizer]
Batch = Mapping[str, Tensor]
Prompts = Callable[..., PromptPair] | FixedPrompts
"""What builds the prompt pair, called with the text tower and a generator; or two phrases."""

CLIP_STAGES = 5
"""Feature maps of a ResNet CLIP: stem and layers 1 to 4, l = 0 ... 4 in Eq. (4)."""


class EnhancerStage(L.LightningModule):
    """What self-reconstruction and enhancement share: network, augmentation and the identity loss, Eq. (4).

    Args:
        context: the stage's place in the run. The network starts from the enhancer handed over, or anew.
        optimizer: called with the parameters.
        augmentation: of the training photographs.
        identity: Eq. (4) with its layer weights.
    """

    def __init__(
        self, context: StageContext, optimizer: Optimizer, augmentation: Augmentation, identity: IdentityLoss
    ) -> None:
        super().__init__()
        self.network = cast("IlluminationNetwork", context.network())
        initialise(self.network, keyed_generator(context.seed, "network"))
        if "enhancer" in context.weights:
            source = f"stage.{context.name}: the enhancer handed over"
            load_network_weights(self.network, context.weights["enhancer"], source)
        # a function, not a module: its parameters are the network's
        self._train_forward = context.compiled(self.network.forward)
        self.identity_clip: FrozenClip = context.clip["identity"]
        self.identity = identity
        self.optimizer = optimizer
        self.augmentation = augmentation
        self.seed = context.seed
        self.scores = Scores()
        self.pictures = ValidationPictures()

    @classmethod
    def check(cls, key: str, settings: Mapping[str, Any], round_: int, clip: Mapping[str, Any]) -> None:
        """Refuse, before anything is trained, an identity loss that does not fit its CLIP."""
        tower: FrozenClip = clip["identity"]
        if not tower.has_stages:
            raise ConfigurationError(
                f"clip.identity.model={tower.identity.model}: the identity loss needs the stages of a "
                "ResNet. Set RN101 or tiny-ResNet."
            )
        found = len(settings["identity"]["layer_weights"])
        if found != CLIP_STAGES:
            raise ConfigurationError(
                f"{key}.identity.layer_weights: expected {CLIP_STAGES} numbers, one for each stage of the "
                f"ResNet, not {found}."
            )

    def restart(self, attempt: int) -> None:
        """Draw the network anew after a dead start: a function of the stage's seed and ``attempt``."""
        initialise(self.network, keyed_generator(self.seed, "network", attempt))

    def augmented(self, batch: Batch) -> Tensor:
        """The batch's photographs, (B, 3, S, S) in [0, 1], each under its own transform."""
        images = batch["image"].float() / 255
        return self.augmentation.apply(images, self.augmentation.matrices(batch["position"], self.seed))

    def forward(self, images: Tensor) -> Tensor:
        """I_t, (B, 3, H, W) in [0, 1], of I_b of the same shape and range."""
        # compiled for the one size of training; photographs to validate on come in many
        network = self._train_forward if self.training else self.network
        return enhance(images, network(images))

    @property
    def averaged(self) -> IlluminationNetwork:
        """What a moving average is taken of."""
        return self.network

    def similarity(self, images: Tensor) -> Tensor | None:
        """S(I), (B,), where the stage knows prompts."""
        return None

    def identity_term(self, images: Tensor, results: Tensor) -> Tensor:
        """Eq. (4) of the batch."""
        with torch.no_grad():
            of_input = self.identity_clip.stage_features(images)
        return cast("Tensor", self.identity(of_input, self.identity_clip.stage_features(results)))

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> None:
        """Enhance an input and judge the result, or score a well-lit photograph of another scene."""
        kinds = [kind for kind in ("input", "reference", "well_lit") if kind in batch]
        pictures = {kind: bounded(batch[kind][0], self.device) for kind in kinds}
        if "input" in pictures:
            pictures["result"] = round_to_8_bits(self(pictures["input"]))
            if not self.pictures.full:
                self.pictures.add(batch["name"][0], pictures)
        self.scores.add(pictures, self.similarity)

    def on_validation_epoch_end(self) -> None:
        """Log the figures, and a few results as pictures."""
        rows = self.scores.compute()
        found = {f"val/{name}": value for name, value in rows.get("result", {}).items()}
        found |= {f"val/S_{kind}": row["S"] for kind, row in rows.items() if kind != "result" and "S" in row}
        self.log_dict(found, sync_dist=True)
        self.scores.reset()
        self.pictures.log(self)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.network.parameters())

    def handover(self) -> Weights:
        return {"enhancer": self.network.state_dict()}


class SelfReconstruction(EnhancerStage):
    """Teach the network to give back its input, by the identity loss alone (all layer weights 1)."""

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The loss, and the PSNR of the results to their inputs, by which a dead start is known."""
        images = self.augmented(batch)
        results = self(images)
        loss = self.identity_term(images, results)
        error = (results.detach() - images).square().flatten(1).mean(dim=1)
        psnr = -10 * error.clamp(min=1e-10).log10().mean()
        self.log("self_reconstruction/loss", loss, prog_bar=True)
        self.log("self_reconstruction/psnr", psnr)
        return {"loss": loss, "psnr": psnr}


class Enhancement(EnhancerStage):
    """CLIP-LIT Eq. (3)-(5): train the network towards the positive prompt. Tuning in the rounds is the same.

    Args:
        context: as in :class:`EnhancerStage`; also brings the prompts.
        optimizer: called with the parameters.
        augmentation: of the training photographs.
        identity: Eq. (4) with its layer weights.
        prompts: as in :class:`PromptInitialisation`; or fixed phrases (the paper's ablation).
        identity_weight: w of Eq. (5).
        clip_weight: weight of L_clip, 1 in the paper.
        logit_scale: factor on the cosines of Eq. (3).
        keep_previous: hand over the network this stage began with as I_{t-1}'s, for Eq. (8).
    """

    text: Tensor

    def __init__(
        self,
        context: StageContext,
        optimizer: Optimizer,
        augmentation: Augmentation,
        identity: IdentityLoss,
        prompts: Prompts,
        identity_weight: float,
        clip_weight: float,
        logit_scale: float,
        keep_previous: bool,
    ) -> None:
        super().__init__(context, optimizer, augmentation, identity)
        if not isinstance(prompts, FixedPrompts) and "prompts" not in context.weights:
            raise ConfigurationError(
                f"stage.{context.name}: there are no prompts to train towards. Put prompt_initialisation "
                "before it in the plan, or give a start file that holds prompts."
            )
        self.clip: FrozenClip = context.clip["prompts"]
        self.identity_weight = identity_weight
        self.clip_weight = clip_weight
        self.logit_scale = logit_scale
        self._previous = context.weights.get("enhancer") if keep_previous else None
        self._prompts = prompts
        self._weights = context.weights
        self.register_buffer("text", torch.empty(0), persistent=False)

    def on_fit_start(self) -> None:
        self.text = text_features(self.clip, self._prompts, self._weights)

    @classmethod
    def check(cls, key: str, settings: Mapping[str, Any], round_: int, clip: Mapping[str, Any]) -> None:
        """Refuse phrases that this CLIP can't read, too."""
        super().check(key, settings, round_, clip)
        prompts = build(settings["prompts"])
        if isinstance(prompts, FixedPrompts):
            prompts(clip["prompts"])

    def similarity(self, images: Tensor) -> Tensor:
        """S(I), Eq. (6), under the prompts that the network is trained towards."""
        return negative_similarity(self.clip.encode_image(images), self.text, self.logit_scale)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images = self.augmented(batch)
        results = self(images)
        clip = clip_enhance_loss(self.clip.encode_image(results), self.text, self.logit_scale)
        identity = self.identity_term(images, results)
        loss = enhancement_loss(clip, identity, self.identity_weight, self.clip_weight)
        self.log_dict({"enhancement/clip": clip, "enhancement/identity": identity})
        self.log("enhancement/loss", loss, prog_bar=True)
        return loss

    def handover(self) -> Weights:
        previous: Weights = {} if self._previous is None else {"previous_enhancer": self._previous}
        return {**super().handover(), **previous}


@torch.no_grad()
def text_features(clip: FrozenClip, prompts: Prompts, weights: Weights) -> Tensor:
    """Features (2, D), negative first, of the prompt pair that was handed over, or of fixed phrases."""
    if isinstance(prompts, FixedPrompts):
        return cast("Tensor", prompts(clip))
    # what the pair starts from is replaced at once, so any generator will do
    pair = prompts(clip, generator=torch.Generator())
    pair.load(weights["prompts"])
    return cast("Tensor", pair(clip))

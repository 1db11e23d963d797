"""The stages of CLIP-LIT as LightningModules: thin wiring of prompts, network, losses and frozen CLIPs.

Each stage trains every parameter it holds and hands over what it learned by name: ``prompts``, ``enhancer``,
``previous_enhancer``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import lightning as L
import torch
from torch import Tensor

from relit.clip import FrozenClip
from relit.clip_lit.losses import (
    IdentityLoss,
    RankingLoss,
    clip_enhance_loss,
    enhancement_loss,
    negative_similarity,
    prompt_initialisation_loss,
)
from relit.clip_lit.network import IlluminationNetwork, enhance, initialise
from relit.clip_lit.prompts import FixedPrompts, PromptPair
from relit.data.augmentation import Augmentation
from relit.errors import ConfigurationError
from relit.feature_bank import FeatureBank
from relit.keyed import keyed_generator
from relit.weights import Weights

if TYPE_CHECKING:
    from relit.data.modules import UnpairedPhotos
    from relit.stages import StageContext

Optimizer = Callable[..., torch.optim.Optimizer]
Batch = Mapping[str, Tensor]
Prompts = Callable[..., PromptPair] | FixedPrompts
"""What builds the prompt pair, called with the text tower and a generator; or two phrases."""


class PromptStage(L.LightningModule):
    """What initialisation and refinement share: the prompt pair and the bank of features it is trained on.

    Args:
        context: the stage's place in the run. The pair starts from the prompts handed over, or anew.
        prompts: builds the pair, called with the text tower and a generator.
        optimizer: called with the parameters.
        augmentation: of the bank's views.
        views: K views per photograph in the feature bank.
        logit_scale: factor on the cosines of Eq. (2) and (6).
    """

    bank: FeatureBank

    def __init__(
        self,
        context: StageContext,
        prompts: Callable[..., PromptPair],
        optimizer: Optimizer,
        augmentation: Augmentation,
        views: int,
        logit_scale: float,
    ) -> None:
        super().__init__()
        self.clip: FrozenClip = context.clip["prompts"]
        self.prompts = prompts(self.clip, generator=keyed_generator(context.seed, "prompts"))
        if "prompts" in context.weights:
            self.prompts.load(context.weights["prompts"])
        self.optimizer = optimizer
        self.augmentation = augmentation
        self.views = views
        self.logit_scale = logit_scale
        self.seed = context.seed

    def on_fit_start(self) -> None:
        """Encode all views of the backlit and the well-lit photographs."""
        self.bank = FeatureBank(self.clip, self.augmentation, self.views, self.seed, self.device)
        photos = _photos(self)
        self.bank.add("backlit", photos.backlit)
        self.bank.add("well_lit", photos.well_lit)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.prompts.parameters())

    def handover(self) -> Weights:
        return {"prompts": self.prompts.weights()}


class PromptInitialisation(PromptStage):
    """Learn the first prompt pair: CLIP-LIT Eq. (1) on the features of backlit and well-lit photographs."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Even positions take a backlit photograph (label 0), odd ones a well-lit one (label 1)."""
        labels = batch["position"] % 2
        views = self.bank.views_of(batch["position"])
        backlit, well_lit = (self.bank(name, batch[name], views) for name in ("backlit", "well_lit"))
        features = torch.where(labels[:, None] == 1, well_lit, backlit)
        text = self.prompts(self.clip)
        loss = prompt_initialisation_loss(features, labels, text, self.logit_scale)
        right = (negative_similarity(features, text.detach(), self.logit_scale) < 0.5) == (labels == 1)
        self.log("prompt_initialisation/loss", loss, prog_bar=True)
        self.log("prompt_initialisation/accuracy", right.float().mean())
        return loss


class PromptRefinement(PromptStage):
    """Refine the prompts by ranking: CLIP-LIT Eq. (7) in the first round, Eq. (8) once there is an I_{t-1}.

    Args:
        context: as in :class:`PromptStage`; ``round`` chooses the margins, the enhancers give I_t, I_{t-1}.
        margins: (m0, m1 = m2) by round; the last pair holds for all later rounds.
        use_previous: whether I_{t-1} takes part (Eq. 8); false is the paper's ablation "w/o t - 1 outputs".
        swap_rounds: I_t and I_{t-1} exchanged in Eq. (8), as the release hands them over.
        prompts, optimizer, augmentation, views, logit_scale: as in :class:`PromptStage`.
    """

    def __init__(
        self,
        context: StageContext,
        prompts: Callable[..., PromptPair],
        optimizer: Optimizer,
        augmentation: Augmentation,
        views: int,
        margins: list[tuple[float, float]],
        use_previous: bool,
        swap_rounds: bool,
        logit_scale: float,
    ) -> None:
        super().__init__(context, prompts, optimizer, augmentation, views, logit_scale)
        m0, m1 = margins[min(max(context.round, 1), len(margins)) - 1]
        self.loss = RankingLoss(m0, m1, m1, swap_rounds, logit_scale)
        self._enhancers = {"result": context.weights["enhancer"]}
        if use_previous and "previous_enhancer" in context.weights:
            self._enhancers["previous"] = context.weights["previous_enhancer"]
        self._build_network = context.network

    def on_fit_start(self) -> None:
        """Fill the bank; results of the current and the previous enhancer enter once per round."""
        super().on_fit_start()
        for name, weights in self._enhancers.items():
            network = self._build_network()
            network.load_state_dict(weights)
            network.eval().to(self.device)
            self.bank.add(name, _photos(self).backlit, partial(_enhanced_by, network))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        views = self.bank.views_of(batch["position"])
        features = {name: self.bank(name, batch["backlit"], views) for name in ("backlit", *self._enhancers)}
        features["well_lit"] = self.bank("well_lit", batch["well_lit"], views)
        text = self.prompts(self.clip)
        loss = cast("Tensor", self.loss(text, **features))
        self.log("prompt_refinement/loss", loss, prog_bar=True)
        for name, value in features.items():
            score = negative_similarity(value, text.detach(), self.logit_scale).mean()
            self.log(f"prompt_refinement/S_{name}", score)
        return loss


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
            self.network.load_state_dict(context.weights["enhancer"])
        self.network.to(memory_format=torch.channels_last)
        self.identity_clip: FrozenClip = context.clip["identity"]
        if not self.identity_clip.has_stages:
            raise ConfigurationError(
                f"clip.identity.model={self.identity_clip.identity.model}: the identity loss needs the "
                "stages of a ResNet. Set RN101 or tiny-ResNet."
            )
        self.identity = identity
        self.optimizer = optimizer
        self.augmentation = augmentation
        self.seed = context.seed

    def augmented(self, batch: Batch) -> Tensor:
        """The batch's photographs, (B, 3, S, S) in [0, 1], each under its own transform."""
        images = batch["image"].float() / 255
        return self.augmentation.apply(images, self.augmentation.matrices(batch["position"], self.seed))

    def forward(self, images: Tensor) -> Tensor:
        """I_t, (B, 3, H, W) in [0, 1], of I_b of the same shape and range."""
        return enhance(images, self.network(images.contiguous(memory_format=torch.channels_last)))

    def identity_term(self, images: Tensor, results: Tensor) -> Tensor:
        """Eq. (4) of the batch."""
        with torch.no_grad():
            of_input = self.identity_clip.stage_features(images)
        return cast("Tensor", self.identity(of_input, self.identity_clip.stage_features(results)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.network.parameters())

    def handover(self) -> Weights:
        return {"enhancer": self.network.state_dict()}


class SelfReconstruction(EnhancerStage):
    """Teach the network to give back its input, by the identity loss alone (all layer weights 1)."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images = self.augmented(batch)
        loss = self.identity_term(images, self(images))
        self.log("self_reconstruction/loss", loss, prog_bar=True)
        return loss


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


def _enhanced_by(network: torch.nn.Module, images: Tensor) -> Tensor:
    return enhance(images, network(images))


def _photos(module: L.LightningModule) -> UnpairedPhotos:
    return cast("UnpairedPhotos", cast(Any, module.trainer).datamodule)

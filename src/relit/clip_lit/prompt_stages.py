"""The stages of CLIP-LIT that learn prompts, on CLIP's image features alone.

Each trains the prompt pair and hands it over as ``prompts``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import lightning as L
import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from relit.clip import FrozenClip
from relit.clip_lit.losses import RankingLoss, negative_similarity, prompt_initialisation_loss
from relit.clip_lit.network import enhance
from relit.clip_lit.prompts import PromptPair
from relit.clip_lit.scores import bounded
from relit.data.augmentation import Augmentation
from relit.errors import ConfigurationError
from relit.feature_bank import ImageFeatures, image_features
from relit.keyed import keyed_generator
from relit.metrics import MeanOverImages
from relit.weights import Weights, load_network_weights

if TYPE_CHECKING:
    from relit.data.unpaired import UnpairedPhotos
    from relit.stage_context import StageContext

Optimizer = Callable[..., torch.optim.Optimizer]
Batch = Mapping[str, Tensor]

KINDS = ("input", "reference", "well_lit")
"""What prompts are validated on: backlit photographs, their references, well-lit ones of other scenes."""
VALIDATED = (*(f"S_{kind}" for kind in KINDS), "right_backlit", "right_well_lit")


class PromptStage(L.LightningModule):
    """What initialisation and refinement share: the prompt pair and the image features it is trained on.

    Args:
        context: the stage's place in the run. The pair starts from the prompts handed over, or anew.
        prompts: builds the pair, called with the text tower and a generator.
        optimizer: called with the parameters.
        augmentation: of the photographs before they are encoded.
        views: K stored views per photograph; None encodes new ones at every step, as the release does.
        refresh_every: steps after which the next stored view is replaced; None keeps all.
        logit_scale: factor on the cosines of Eq. (2) and (6).
    """

    features: ImageFeatures

    def __init__(
        self,
        context: StageContext,
        prompts: Callable[..., PromptPair],
        optimizer: Optimizer,
        augmentation: Augmentation,
        views: int | None,
        refresh_every: int | None,
        logit_scale: float,
    ) -> None:
        super().__init__()
        self.clip: FrozenClip = context.clip["prompts"]
        self.prompts = prompts(self.clip, generator=keyed_generator(context.seed, "prompts"))
        if "prompts" in context.weights:
            self.prompts.load(context.weights["prompts"])
        self.optimizer = optimizer
        self.augmentation = augmentation
        self.views, self.refresh_every = views, refresh_every
        self.logit_scale = logit_scale
        self.seed = context.seed
        means = {name: MeanOverImages() for name in VALIDATED}
        self.validated = MetricCollection(dict(means), compute_groups=False)

    @property
    def photos(self) -> UnpairedPhotos:
        """The run's photographs."""
        return cast("UnpairedPhotos", cast(Any, self.trainer).datamodule)

    def on_train_start(self) -> None:
        """Encode the stored views of the backlit and the well-lit photographs."""
        bar = self.trainer.progress_bar_callback
        self.features = image_features(
            self.clip,
            self.augmentation,
            self.views,
            self.refresh_every,
            self.seed,
            self.device,
            progress=bar is not None and self.trainer.is_global_zero,
        )
        self.features.advance(self.global_step)
        self.features.add("backlit", self.photos.backlit)
        self.features.add("well_lit", self.photos.well_lit)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Replace the stored view whose turn it is."""
        self.features.advance(self.global_step)

    def on_validation_epoch_start(self) -> None:
        """Read the prompts once for all photographs."""
        self._text = self.prompts(self.clip).detach()

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> None:
        """Score a photograph: S of a backlit one should be above one half, of others below."""
        for kind in (kind for kind in KINDS if kind in batch):
            image = bounded(batch[kind][0], self.device)
            score = negative_similarity(self.clip.encode_image(image), self._text, self.logit_scale)
            self.validated[f"S_{kind}"].update(score)
            backlit = kind == "input"
            self.validated["right_backlit" if backlit else "right_well_lit"].update(
                ((score > 0.5) == backlit).float()
            )

    def on_validation_epoch_end(self) -> None:
        """Log mean scores and, where there are both kinds, the share on their side of one half, balanced."""
        found = self.validated.compute()
        found["accuracy"] = (found.pop("right_backlit") + found.pop("right_well_lit")) / 2
        logged = {f"val/{name}": value for name, value in found.items() if not value.isnan()}
        self.log_dict(logged, sync_dist=True)
        self.validated.reset()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.prompts.parameters())

    def handover(self) -> Weights:
        return {"prompts": self.prompts.weights()}


class PromptInitialisation(PromptStage):
    """Learn the first prompt pair: CLIP-LIT Eq. (1) on the features of backlit and well-lit photographs."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Even positions take a backlit photograph (label 0), odd ones a well-lit one (label 1)."""
        labels = batch["position"] % 2
        features = self._features_by_label(batch, labels)
        text = self.prompts(self.clip)
        loss = prompt_initialisation_loss(features, labels, text, self.logit_scale)
        right = (negative_similarity(features, text.detach(), self.logit_scale) < 0.5) == (labels == 1)
        self.log("prompt_initialisation/loss", loss, prog_bar=True)
        self.log("prompt_initialisation/accuracy", right.float().mean())
        return loss

    def _features_by_label(self, batch: Batch, labels: Tensor) -> Tensor:
        """Features (B, D) of the photograph that each position takes; no other one is encoded."""
        found = []
        for label, name in enumerate(("backlit", "well_lit")):
            chosen = labels == label
            if chosen.any():
                found.append(self.features(name, batch[name][chosen], batch["position"][chosen]))
        in_batch = labels.argsort(stable=True).argsort()
        return torch.cat(found)[in_batch.to(found[0].device)]


class PromptRefinement(PromptStage):
    """Refine the prompts by ranking: CLIP-LIT Eq. (7) in the first round, Eq. (8) once there is an I_{t-1}.

    Args:
        context: as in :class:`PromptStage`; ``round`` chooses the margins, the enhancers give I_t, I_{t-1}.
        margins: ``{round, m0, m1}`` each: m0 and m1 = m2 from that round on.
        use_previous: whether I_{t-1} takes part (Eq. 8); false is the paper's ablation "w/o t - 1 outputs".
        swap_rounds: I_t and I_{t-1} exchanged in Eq. (8), as the release hands them over.
        ranking_weight: factor on the loss: 1 in the paper, 200 in the release.
        prompts, optimizer, augmentation, views, refresh_every, logit_scale: as in :class:`PromptStage`.
    """

    def __init__(
        self,
        context: StageContext,
        prompts: Callable[..., PromptPair],
        optimizer: Optimizer,
        augmentation: Augmentation,
        views: int | None,
        refresh_every: int | None,
        margins: Sequence[Mapping[str, float]],
        use_previous: bool,
        swap_rounds: bool,
        ranking_weight: float,
        logit_scale: float,
    ) -> None:
        super().__init__(context, prompts, optimizer, augmentation, views, refresh_every, logit_scale)
        m0, m1 = margins_of_round(margins, context.round)
        self.ranking_weight = ranking_weight
        self.loss = RankingLoss(m0, m1, m1, swap_rounds, logit_scale)
        self._enhancers = {"result": context.weights["enhancer"]}
        if use_previous and "previous_enhancer" in context.weights:
            self._enhancers["previous"] = context.weights["previous_enhancer"]
        self._build_network = context.network

    @classmethod
    def check(cls, key: str, settings: Mapping[str, Any], round_: int, clip: Mapping[str, Any]) -> None:
        """Refuse, before anything is trained, margins that leave ``round_`` out."""
        margins_of_round(settings["margins"], round_, f"{key}.margins")

    def on_train_start(self) -> None:
        """Encode the results of the current and the previous enhancer, too, made once per round."""
        super().on_train_start()
        for name, weights in self._enhancers.items():
            network = self._build_network()
            load_network_weights(network, weights, f"the enhancer of {name}")
            network.eval().to(self.device)
            self.features.add(name, self.photos.backlit, partial(_enhanced_by, network))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        backlit, positions = batch["backlit"], batch["position"]
        features = {name: self.features(name, backlit, positions) for name in ("backlit", *self._enhancers)}
        features["well_lit"] = self.features("well_lit", batch["well_lit"], positions)
        text = self.prompts(self.clip)
        loss = self.ranking_weight * cast("Tensor", self.loss(text, **features))
        self.log("prompt_refinement/loss", loss, prog_bar=True)
        for name, value in features.items():
            score = negative_similarity(value, text.detach(), self.logit_scale).mean()
            self.log(f"prompt_refinement/S_{name}", score)
        return loss


def margins_of_round(
    margins: Sequence[Mapping[str, float]], round_: int, key: str = "margins"
) -> tuple[float, float]:
    """(m0, m1 = m2) of ``round_``: those of the last entry whose ``round`` is not after it.

    Args:
        margins: ``{round, m0, m1}`` each, the first for round 1.
        round_: 1-based; 0 counts as 1.
        key: what the margins are called in the configuration, for the message.

    Raises:
        ConfigurationError: the first round has no margins, or an entry says something else.
    """
    for entry in margins:
        numbers = (
            entry.values() if isinstance(entry, Mapping) and set(entry) == {"round", "m0", "m1"} else [None]
        )
        if not all(isinstance(number, int | float) for number in numbers):
            raise ConfigurationError(f"{key}: expected {{round: 1, m0: 0.9, m1: 0.2}}, found {entry!r}.")
    begun = [entry for entry in margins if entry["round"] <= max(round_, 1)]
    if not begun:
        raise ConfigurationError(
            f"{key}: round {max(round_, 1)} has none; add {{round: 1, m0: 0.9, m1: 0.2}}."
        )
    latest = max(begun, key=lambda entry: entry["round"])
    return float(latest["m0"]), float(latest["m1"])


def _enhanced_by(network: nn.Module, images: Tensor) -> Tensor:
    return enhance(images, network(images))

"""Training the embedded CLIP: contrastive learning with several true captions per picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from relit.data.sampling import PositionSampler
from relit.keyed import keyed_generator
from relit.tiny_clip.architecture import (
    IMAGE_MEAN,
    IMAGE_SIZE,
    IMAGE_STD,
    VISION,
    build,
    join_weights,
    share_text,
    tokenizer,
)
from relit.tiny_clip.attributes import caption, true_of
from relit.tiny_clip.camera import Camera
from relit.tiny_clip.scenes import scene_pool

if TYPE_CHECKING:
    from relit.stage_context import StageContext


def contrastive_loss(images: Tensor, texts: Tensor, true: Tensor, logit_scale: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy with all true captions as targets.

    Args:
        images: unit features (B, D).
        texts: unit features (C, D).
        true: bool (B, C), whether the caption is true of the picture; every row and column has one.
        logit_scale: positive factor on the cosines.

    Returns:
        scalar; its minimum is the entropy of the targets, not zero.
    """
    logits = logit_scale * images @ texts.T
    weights = true.float()
    over_texts = F.cross_entropy(logits, weights / weights.sum(1, keepdim=True))
    over_images = F.cross_entropy(logits.T, (weights / weights.sum(0, keepdim=True)).T)
    return (over_texts + over_images) / 2


class LightPictures(Dataset[dict[str, Tensor]]):
    """Pictures with captions about their light, functions of the position (:mod:`relit.data.sampling`)."""

    def __init__(self, camera: Camera, seed: int) -> None:
        self.camera, self.seed, self.tokenizer = camera, seed, tokenizer()

    def __getitems__(self, positions: list[int]) -> dict[str, Tensor]:
        images, classes = self.camera(positions)
        described = [
            caption(row, keyed_generator(self.seed, "caption", p))
            for row, p in zip(classes, positions, strict=True)
        ]
        tokens = self.tokenizer([text for text, _ in described])
        return {
            "image": images,
            "classes": classes,
            "tokens": tokens,
            "named": torch.stack([named for _, named in described]),
        }


class LightPicturesData(L.LightningDataModule):
    """Feeds :class:`ContrastiveLight`: an endless stream of pictures, resumable at any step."""

    def __init__(self, batch_size: int, crops: int, procedural: int, scene_size: int, seed: int) -> None:
        super().__init__()
        self.batch_size, self.crops, self.procedural, self.scene_size, self.seed = (
            batch_size,
            crops,
            procedural,
            scene_size,
            seed,
        )
        self.camera: Camera | None = None

    def setup(self, stage: str) -> None:
        if self.camera is None:
            scenes = scene_pool(self.crops, self.procedural, self.scene_size, self.seed)
            self.camera = Camera(scenes, IMAGE_SIZE, self.seed)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        assert self.camera is not None, "setup() has not run"
        trainer = self.trainer
        start, rank, world = (
            (trainer.global_step, trainer.global_rank, trainer.world_size) if trainer else (0, 0, 1)
        )
        sampler = PositionSampler(self.batch_size, start_step=start, rank=rank, world_size=world)
        return DataLoader(LightPictures(self.camera, self.seed), batch_sampler=sampler, collate_fn=_as_is)


class ContrastiveLight(L.LightningModule):
    """Both image towers and the shared text tower, trained together on the same pictures.

    Args:
        context: the stage's place in the run; its seed draws the initial weights.
        optimizer: called with the parameters.
        scheduler: called with the optimizer; stepped every step.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        context: StageContext,
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., torch.optim.lr_scheduler.LRScheduler],
    ) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(context.seed)
            self.models = torch.nn.ModuleDict({tower: build(tower) for tower in VISION})
        first, *others = self.models.values()
        for model in others:
            share_text(model, first)
        self.optimizer, self.scheduler = optimizer, scheduler
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGE_STD)[:, None, None], persistent=False)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        true = true_of(batch["classes"], batch["named"])
        images = (batch["image"] - self.mean) / self.std
        length = int((batch["tokens"] != 0).sum(1).max())
        texts = F.normalize(self._encode_text(batch["tokens"][:, :length]), dim=-1)
        total = torch.zeros((), device=self.device)
        towers: dict[str, Any] = dict(self.models.items())
        for tower, model in towers.items():
            features = F.normalize(model.encode_image(images), dim=-1)
            loss = contrastive_loss(features, texts, true, model.logit_scale.exp().clamp(max=100))
            self.log(f"tiny_clip/{tower}", loss, prog_bar=True)
            total = total + loss
        self.log("tiny_clip/loss", total)
        return total

    def _encode_text(self, tokens: Tensor) -> Tensor:
        """Text features (P, D) of tokens (P, L), cut after the longest text.

        The tower is causal, so they are those of all 77 positions.
        """
        model: Any = next(iter(self.models.values()))
        length = tokens.shape[1]
        x = model.token_embedding(tokens) + model.positional_embedding[:length]
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
        return x[torch.arange(len(x), device=x.device), tokens.argmax(-1)] @ model.text_projection

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self.optimizer(self.parameters())
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"},
        }

    def handover(self) -> dict[str, dict[str, Tensor]]:
        """The weights that :func:`relit.tiny_clip.architecture.split_weights` reads."""
        weights = join_weights(dict(self.models.items()))
        return {"tiny_clip": {name: tensor.cpu() for name, tensor in weights.items()}}


def _as_is(batch: Any) -> Any:
    return batch

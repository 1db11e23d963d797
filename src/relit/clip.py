"""Frozen CLIP: an image tower and a text tower that are only asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from relit.batch_norm_folding import fold_batch_norms
from relit.errors import ConfigurationError
from relit.frozen_tower import FrozenTower

Tokenizer = Callable[[list[str]], Tensor]


@dataclass(frozen=True)
class ClipIdentity:
    """Which CLIP this is: weight files name it.

    Attributes:
        model: open_clip's model name, timm's, or the embedded tower's.
        source: pretrained tag, file name, or ``embedded``.
        digest: first 16 hex digits of the SHA-256 over all weights.
    """

    model: str
    source: str
    digest: str

    @classmethod
    def of(cls, network: nn.Module, model: str, source: str) -> ClipIdentity:
        """The identity of a loaded ``network``; its digest covers names and values of all its tensors."""
        digest = hashlib.sha256()
        for name, tensor in sorted(network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return cls(model, source, digest.hexdigest()[:16])

    def as_dict(self) -> dict[str, str]:
        """Plain strings, for metadata."""
        return asdict(self)


def check_clip(
    metadata: Mapping[str, Any], identities: Mapping[str, ClipIdentity], source: str | Path
) -> None:
    """Refuse weights that were trained with another CLIP: under this one they would mean nothing.

    Models must be the same, up to the suffix ``-quickgelu`` that says how weights are loaded. Digests decide
    where both are known (files that were imported have none); else two different tags are different CLIPs,
    while a local file may hold anything.

    Args:
        metadata: of a weight file; ``clip`` maps roles to :meth:`ClipIdentity.as_dict`, perhaps without a
            digest.
        identities: the configured CLIPs by role; those that weights depend on, ``prompts`` and ``prior``, are
            compared.
        source: the weight file, for the message.

    Raises:
        ConfigurationError: it is another CLIP.
    """
    for role, what in (("prompts", "prompts belong to"), ("prior", "priors come from")):
        trained, configured = metadata.get("clip", {}).get(role), identities.get(role)
        if trained is None or configured is None or _same_clip(trained, configured.as_dict()):
            continue
        raise ConfigurationError(
            f"{source}: its {what} the CLIP {_named(trained)}, but clip.{role} is "
            f"{_named(configured.as_dict())}. Set clip.{role} to that CLIP, or train without this file."
        )


def _same_clip(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    if one["model"].removesuffix("-quickgelu") != other["model"].removesuffix("-quickgelu"):
        return False
    if one.get("digest") and other.get("digest"):
        return one["digest"] == other["digest"]
    # tags of open_clip hold no dot, names of weight files do
    return one["source"] == other["source"] or any("." in clip["source"] for clip in (one, other))


def _named(identity: Mapping[str, str]) -> str:
    details = [identity["source"], *([identity["digest"]] if identity.get("digest") else [])]
    return f"{identity['model']} ({', '.join(details)})"


class FrozenClip(FrozenTower):
    """A CLIP that is only asked.

    Args:
        model: an open_clip model with ``visual`` and a text tower. It belongs to this object from now on: a
            ResNet loses its batch normalisations, so ask for its :class:`ClipIdentity` before.
        tokenizer: texts to tokens, int64 (P, context length); refuses a text that is too long.
        identity: what to write into weight files.
        mean: per-channel mean of CLIP's preprocessing.
        std: per-channel standard deviation of CLIP's preprocessing.
        antialias: smooth before reducing to the tower's size (CLIP-LIT's release does not).
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Tokenizer,
        identity: ClipIdentity,
        mean: Sequence[float],
        std: Sequence[float],
        antialias: bool = True,
    ) -> None:
        super().__init__(model, identity, mean, std, antialias)
        self.tokenizer = tokenizer
        if self.has_stages:
            fold_batch_norms(self.image_network)
            # convolutions take less time in this layout, which feature maps inherit
            self.image_network.to(memory_format=torch.channels_last)

    @property
    def _text(self) -> Any:
        """The text tower: a part of the model, or the model itself (open_clip's plain CLIP)."""
        return getattr(self._model, "text", self._model)

    @property
    def image_network(self) -> nn.Module:
        """The image tower alone."""
        return self._model.visual

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width that the image tower expects."""
        size = self._model.visual.image_size
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    @property
    def context_length(self) -> int:
        """Number of token positions of the text tower (77)."""
        return int(self._text.context_length)

    @property
    def width(self) -> int:
        """Width of the token embeddings (512 for ViT-B/32)."""
        return int(self._text.token_embedding.weight.shape[1])

    def encode_image(self, images: Tensor) -> Tensor:
        """Unit-norm image features (B, D) of images (B, 3, H, W) in [0, 1]; differentiable in the images."""
        return F.normalize(self._model.encode_image(self.preprocess(images)), dim=-1)

    def encode_text(self, texts: list[str]) -> Tensor:
        """Unit-norm text features (P, D)."""
        embeddings, eot = self.token_embeddings(texts)
        return self.encode_embeddings(embeddings, eot)

    def token_embeddings(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Token embeddings (P, context length, W) without positions, and the place of EOT, int64 (P,).

        Raises:
            ConfigurationError: a text is too long for the context, or holds a word the tokenizer lacks.
        """
        tokens = self.tokenizer(texts).to(self._text.token_embedding.weight.device)
        return self._text.token_embedding(tokens), tokens.argmax(-1)

    def encode_embeddings(self, embeddings: Tensor, eot: Tensor) -> Tensor:
        """Unit-norm text features (P, D) of token embeddings (P, L, W) with the end of text at ``eot`` (P,).

        The tower is causal: positions after EOT do not influence it, so any ``L`` from ``max(eot) + 1`` up to
        the context length gives the same result.
        """
        text, length = self._text, embeddings.shape[1]
        x = embeddings + text.positional_embedding[:length].to(embeddings)
        mask = None if text.attn_mask is None else text.attn_mask[:length, :length]
        x = text.ln_final(text.transformer(x, attn_mask=mask))
        x = x[torch.arange(len(x), device=x.device), eot.to(x.device)]
        projection = text.text_projection
        x = projection(x) if isinstance(projection, nn.Linear) else x @ projection
        return F.normalize(x, dim=-1)

    @property
    def block_count(self) -> int:
        """Transformer blocks of the image tower; 0 for a ResNet."""
        transformer = getattr(self._model.visual, "transformer", None)
        return 0 if transformer is None else len(transformer.resblocks)

    @property
    def block_width(self) -> int:
        """W, of a block's tokens (768 for ViT-B/32)."""
        return int(self._model.visual.transformer.width)

    def _block_tokens(self, x: Tensor, blocks: list[int]) -> list[tuple[Tensor, Tensor]]:
        out = self._model.visual.forward_intermediates(
            x,
            indices=[block - 1 for block in blocks],
            stop_early=True,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        prefixes, patches = out["image_intermediates_prefix"], out["image_intermediates"]
        return [(prefix[:, 0], rest) for prefix, rest in zip(prefixes, patches, strict=True)]

    @property
    def has_stages(self) -> bool:
        """Whether the image tower is a ResNet, which :meth:`stage_features` needs."""
        return hasattr(self._model.visual, "layer4")

    def stage_features(self, images: Tensor) -> list[Tensor]:
        """The five feature maps (B, C_l, H_l, W_l) behind stem and layers 1 to 4 (ResNet towers).

        Raises:
            TypeError: the image tower is no ResNet.
        """
        visual = self._model.visual
        if not self.has_stages:
            raise TypeError(f"{self.identity.model} is no ResNet; ask for block_features, or use e.g. RN101.")
        out = visual.forward_intermediates(self.preprocess(images), intermediates_only=True)
        return list(out["image_intermediates"])

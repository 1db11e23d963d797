"""A ViT trained to tell ImageNet's classes apart, CLIP-RestoreX's control: priors without CLIP's training."""

from __future__ import annotations

from pathlib import Path

import timm
from timm.data import resolve_model_data_config
from timm.models import get_pretrained_cfg, load_checkpoint
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from relit.clip import ClipIdentity
from relit.errors import ConfigurationError
from relit.frozen_tower import FrozenTower
from relit.hub import check_reach, page_of
from relit.targets import near

WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")
"""What a model of timm is called on the hub."""


class ImageNetViT(FrozenTower):
    """A ViT of timm with a class token, asked for block features like a CLIP's image tower."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width that the tower expects."""
        height, width = self._model.patch_embed.img_size
        return int(height), int(width)

    @property
    def block_count(self) -> int:
        """Transformer blocks of the tower."""
        return len(self._model.blocks)

    @property
    def block_width(self) -> int:
        """W, of a block's tokens (768 for ViT-B/32)."""
        return int(self._model.embed_dim)

    def _block_tokens(self, x: Tensor, blocks: list[int]) -> list[tuple[Tensor, Tensor]]:
        found = self._model.forward_intermediates(
            x,
            indices=[block - 1 for block in blocks],
            return_prefix_tokens=True,
            stop_early=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        return [(prefix[:, 0], patches) for patches, prefix in found]


def load_imagenet_vit(
    model: str = "vit_base_patch32_224", pretrained: str = "augreg_in1k", antialias: bool = True
) -> ImageNetViT:
    """Load a ViT of timm and freeze it. The defaults are the ViT-B/32 that saw ImageNet-1k and nothing else.

    Args:
        model: a ViT of timm that has a class token.
        pretrained: a tag of timm for that model, fetched once, or the path of a local file: safetensors, a
            checkpoint of torch, or the ``.npz`` of the original release.
        antialias: smooth before reducing images to the tower's size.

    Raises:
        ConfigurationError: unknown model or tag, no such ViT, or weights out of reach or of another model.
    """
    _check_model(model)
    if Path(pretrained).is_file():
        source, network = Path(pretrained).name, _from_file(model, Path(pretrained))
    else:
        source, network = pretrained, _from_tag(model, pretrained)
    if not isinstance(network, VisionTransformer) or not network.has_class_token:
        raise ConfigurationError(
            f"clip: {model} is no ViT with a class token. Use one such as vit_base_patch32_224."
        )
    identity = ClipIdentity.of(network, model, source)
    statistics = resolve_model_data_config(network)
    return ImageNetViT(network, identity, statistics["mean"], statistics["std"], antialias)


def _check_model(model: str) -> None:
    if "." in model or not timm.is_model(model):
        raise ConfigurationError(
            f"clip: timm has no model {model!r}.{near(model, timm.list_models('vit_*'))} "
            "A tag, behind the dot in timm's names, is set by pretrained."
        )


def _from_tag(model: str, tag: str) -> nn.Module:
    name = f"{model}.{tag}"
    known = [entry.partition(".")[2] for entry in timm.list_pretrained(f"{model}.*")]
    if tag not in known:
        raise ConfigurationError(
            f"clip: {tag!r} is neither a file nor a tag of {model}. Tags: {', '.join(known) or 'none'}."
        )
    config = get_pretrained_cfg(name)
    assert config is not None
    repository = str(config.hf_hub_id)
    try:
        check_reach(repository, WEIGHTS_FILES)
        return timm.create_model(name, pretrained=True)
    except Exception as error:  # whatever the hub, the network or the cache raises, the remedy is the same
        raise ConfigurationError(
            f"clip: could not fetch {model} '{tag}' from {page_of(repository)}: "
            f"{type(error).__name__}: {error}\n"
            f"Fetch {WEIGHTS_FILES[0]} there on a machine with access, copy it here, and set "
            "clip.prior.pretrained=/path/to/file."
        ) from error


def _from_file(model: str, path: Path) -> nn.Module:
    network: nn.Module = timm.create_model(model, pretrained=False)
    try:
        load_checkpoint(network, str(path), weights_only=True)
    except Exception as error:  # each format has its own exceptions, and the remedy is the same
        raise ConfigurationError(
            f"clip: {path} can't be read as weights of {model}: {type(error).__name__}: {error}\n"
            "Set model to the one it holds, or copy the file again."
        ) from error
    return network

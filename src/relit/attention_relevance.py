"""Which regions of an image a ViT's answer to a text rests on: attention rolled out by its gradients.

H. Chefer, S. Gur, L. Wolf, "Generic Attention-model Explainability", ICCV 2021, for a tower with
self-attention alone. A_l is block l's attention map and g_l the gradient of the answer with respect to it;
R begins as the identity, and each block adds what it mixes (their Eq. (5), (6)):

    R <- R + mean over heads of max(0, g_l * A_l) R

The class token's row of R is the relevance of the patches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from relit.clip import FrozenClip
from relit.errors import ConfigurationError


def relevance(clip: FrozenClip, images: Tensor, text: Tensor, logit_scale: float) -> Tensor:
    """The share of each patch in how much the images are like a text, logit_scale cos(image, text).

    Args:
        clip: with a ViT; it is left as it was.
        images: (B, 3, H, W) in [0, 1].
        text: unit-norm features (D,) of a text.
        logit_scale: factor on the cosine.

    Returns:
        (B, rows, columns) of patches, >= 0; each image's sum is 1, or 0 where nothing speaks for the text.

    Raises:
        ConfigurationError: the image tower is no ViT that is read at its class token.
    """
    tower: Any = clip.image_network
    blocks = attention_layers(clip)
    with torch.enable_grad(), attention_maps(blocks) as maps:
        likeness = logit_scale * (clip.encode_image(images) @ text)
        # images do not meet, so the gradient of the sum is each one's own
        gradients = torch.autograd.grad(likeness.sum(), maps)
    class_row = rollout([found.detach() for found in maps], gradients)[:, 0, 1:]
    total = class_row.sum(dim=1, keepdim=True)
    shares = class_row / total.where(total > 0, torch.ones_like(total))
    return shares.reshape(len(images), *tower.grid_size)


def rollout(maps: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """R, (B, N, N), of attention maps and their gradients, (B, heads, N, N) each, from the first block on."""
    count = maps[0].shape[-1]
    total = torch.eye(count, device=maps[0].device, dtype=maps[0].dtype).expand(len(maps[0]), -1, -1)
    for attention, gradient in zip(maps, gradients, strict=True):
        total = total + (gradient * attention).clamp(min=0).mean(dim=1) @ total
    return total


def attention_layers(clip: FrozenClip) -> list[nn.MultiheadAttention]:
    """The attention of each block, from the first on.

    Raises:
        ConfigurationError: as for :func:`relevance`.
    """
    tower: Any = clip.image_network
    found = [block.attn for block in tower.transformer.resblocks] if clip.has_blocks else []
    plain = all(isinstance(layer, nn.MultiheadAttention) for layer in found)
    if not found or not plain or tower.attn_pool is not None or tower.pool_type != "tok":
        raise ConfigurationError(
            f"clip.prompts.model={clip.identity.model}: relevance is rolled out of the attention maps of a "
            "ViT that is read at its class token, and this image tower has none. Train a run with "
            "clip.prompts.model=ViT-B-32, or tiny-ViT for the embedded CLIP."
        )
    return found


@contextmanager
def attention_maps(layers: Sequence[nn.MultiheadAttention]) -> Iterator[list[Tensor]]:
    """Inside, every call of ``layers`` (self-attention, batch first) appends its map to the list.

    The maps, (B, heads, N, N), are part of the graph: what comes behind has gradients with respect to them,
    even where no weight is trained. PyTorch's own layer gives maps that are not.
    """
    maps: list[Tensor] = []

    def instead(layer: nn.Module, given: tuple[Any, ...], _: object) -> tuple[Tensor, None]:
        assert isinstance(layer, nn.MultiheadAttention)
        mixed, attention = _attend(layer, given[0])
        maps.append(attention)
        return mixed, None

    hooks = [layer.register_forward_hook(instead) for layer in layers]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def _attend(layer: nn.MultiheadAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Self-attention of x (B, N, W) written out: its output (B, N, W) and its map (B, heads, N, N)."""
    queries, keys, values = (
        part.unflatten(-1, (layer.num_heads, -1)).transpose(1, 2)
        for part in F.linear(x, layer.in_proj_weight, layer.in_proj_bias).chunk(3, dim=-1)
    )
    attention = (queries @ keys.mT / math.sqrt(queries.shape[-1])).softmax(dim=-1)
    if not attention.requires_grad:  # nothing before the first map is trained
        attention.requires_grad_()
    mixed = (attention @ values).transpose(1, 2).flatten(2)
    return F.linear(mixed, layer.out_proj.weight, layer.out_proj.bias), attention

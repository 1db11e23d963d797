"""Relevance of patches: gradients by finite differences and the rollout by hand, on a small random ViT."""

from __future__ import annotations

from typing import Any

import open_clip
import pytest
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from torch import Tensor
from torch.nn import functional as F

from relit.attention_relevance import attention_layers, attention_maps, relevance
from relit.clip import ClipIdentity, FrozenClip
from relit.clip_loading import load_clip
from relit.errors import ConfigurationError

SCALE = 7.0
HEADS, HEAD_WIDTH, TOKENS = 2, 4, 5


@pytest.fixture(scope="module")
def clip() -> FrozenClip:
    """Two blocks, two heads, four patches, in float64; attention is far from even."""
    torch.manual_seed(3)
    vision = CLIPVisionCfg(layers=2, width=8, head_width=HEAD_WIDTH, patch_size=4, image_size=8)
    text = CLIPTextCfg(context_length=4, vocab_size=10, width=8, heads=2, layers=1)
    model = open_clip.CLIP(6, vision, text).double()
    with torch.no_grad():
        for block in model.visual.transformer.resblocks:
            block.attn.in_proj_weight *= 3
            block.attn.in_proj_bias += torch.randn(24, dtype=torch.float64)
    identity = ClipIdentity("toy", "nowhere", "0")
    return FrozenClip(model, lambda texts: torch.zeros(len(texts), 4), identity, (0.5,) * 3, (0.3,) * 3)


def drawn(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def text() -> Tensor:
    return F.normalize(drawn(6) - 0.5, dim=0)


def by_hand(clip: FrozenClip, image: Tensor, shifts: Tensor) -> tuple[float, Tensor]:
    """Likeness to the text of an image (1, 3, 8, 8), and the maps (block, head, 5, 5).

    Args:
        shifts: added to the maps after the softmax.
    """
    tower: Any = clip.image_network
    patches = F.conv2d((image - 0.5) / 0.3, tower.conv1.weight, stride=4)[0].flatten(1).T
    x = tower.ln_pre(torch.cat([tower.class_embedding[None], patches]) + tower.positional_embedding)
    maps = []
    for block, shift in zip(tower.transformer.resblocks, shifts, strict=True):
        y, parts = block.ln_1(x), []
        weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
        for head in range(HEADS):
            own = [
                slice(8 * kind + HEAD_WIDTH * head, 8 * kind + HEAD_WIDTH * (head + 1)) for kind in range(3)
            ]
            q, k, v = (y @ weight[rows].T + bias[rows] for rows in own)
            attention = torch.softmax(q @ k.T / HEAD_WIDTH**0.5, dim=1) + shift[head]
            maps.append(attention)
            parts.append(attention @ v)
        x = x + torch.cat(parts, dim=1) @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
        x = x + block.mlp(block.ln_2(x))
    feature = F.normalize(tower.ln_post(x)[0] @ tower.proj, dim=0)
    return float(SCALE * (feature @ text())), torch.stack(maps).reshape(2, HEADS, TOKENS, TOKENS)


def gradients_by_hand(clip: FrozenClip, image: Tensor, step: float = 1e-5) -> Tensor:
    """Central differences: how the likeness changes with every entry of every map."""
    found = torch.zeros(2, HEADS, TOKENS, TOKENS, dtype=torch.float64)
    for place in range(found.numel()):
        shift = torch.zeros_like(found)
        shift.view(-1)[place] = step
        found.view(-1)[place] = (by_hand(clip, image, shift)[0] - by_hand(clip, image, -shift)[0]) / (
            2 * step
        )
    return found


def test_relevance_is_the_rollout_of_gradients_and_maps(clip: FrozenClip) -> None:
    image = drawn(1, 3, 8, 8)
    _, maps = by_hand(clip, image, torch.zeros(2, HEADS, TOKENS, TOKENS, dtype=torch.float64))
    gradients = gradients_by_hand(clip, image)
    rolled = [[float(i == j) for j in range(TOKENS)] for i in range(TOKENS)]
    for attention, gradient in zip(maps, gradients, strict=True):
        mixed = [[0.0] * TOKENS for _ in range(TOKENS)]
        for i in range(TOKENS):
            for j in range(TOKENS):
                positive = [max(0.0, float(gradient[h, i, j] * attention[h, i, j])) for h in range(HEADS)]
                mixed[i][j] = sum(positive) / HEADS
        rolled = [
            [rolled[i][j] + sum(mixed[i][k] * rolled[k][j] for k in range(TOKENS)) for j in range(TOKENS)]
            for i in range(TOKENS)
        ]
    patches = torch.tensor(rolled[0][1:], dtype=torch.float64)
    expected = (patches / patches.sum()).reshape(1, 2, 2)
    assert patches.max() > 1.2 * patches.min()
    assert torch.allclose(relevance(clip, image, text(), SCALE), expected, atol=1e-7)


def test_shares_are_those_of_each_image_and_sum_to_one() -> None:
    tiny = load_clip("tiny-ViT", "embedded")
    images = drawn(2, 3, 40, 56).float()
    prompt = tiny.encode_text(["a dark photo"])[0]
    found = relevance(tiny, images, prompt, SCALE)
    assert found.shape == (2, 8, 8)
    assert bool((found >= 0).all())
    assert found.sum(dim=(1, 2)).tolist() == pytest.approx([1, 1])
    assert torch.allclose(found[1:], relevance(tiny, images[1:], prompt, SCALE), atol=1e-6)


def test_where_nothing_speaks_for_the_text_there_are_no_shares(clip: FrozenClip) -> None:
    assert not relevance(clip, drawn(1, 3, 8, 8), torch.zeros(6, dtype=torch.float64), SCALE).any()


def test_the_tower_says_the_same_meanwhile_and_is_left_as_it_was(clip: FrozenClip) -> None:
    image, layers = drawn(1, 3, 8, 8), attention_layers(clip)
    before = clip.encode_image(image)
    weights = {name: tensor.clone() for name, tensor in clip.image_network.state_dict().items()}
    with attention_maps(layers) as maps:
        within = clip.encode_image(image)
    assert torch.allclose(before, within, atol=1e-12)
    assert [tuple(found.shape) for found in maps] == [(1, HEADS, TOKENS, TOKENS)] * 2
    relevance(clip, image, text(), SCALE)
    assert not any(layer._forward_hooks for layer in layers)
    assert not any(parameter.requires_grad for parameter in clip.image_network.parameters())
    after = clip.image_network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in weights.items())
    assert torch.equal(clip.encode_image(image), before)


def test_a_resnet_has_no_attention_to_roll_out() -> None:
    with pytest.raises(ConfigurationError, match=r"clip\.prompts\.model=tiny-ResNet.*tiny-ViT"):
        relevance(load_clip("tiny-ResNet", "embedded"), torch.zeros(1, 3, 8, 8), torch.zeros(128), 1.0)

"""MDTA, GDFN, the norm and Eq. (7) recomputed plainly, and sums over pixels that tiles may share."""

from __future__ import annotations

import math
from operator import add
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from relit.clip_restorex.restormer_blocks import (
    AttentionStatistics,
    ChannelAttention,
    ChannelNorm,
    GatedFeedForward,
    Modulation,
    TransformerBlock,
)

Module = TypeVar("Module", bound=nn.Module)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("brightness", [0.0, 300.0])
def test_attention_stays_finite_and_close_in_half_precision(dtype: torch.dtype, brightness: float) -> None:
    """Sums over pixels are larger than float16 can hold, and those of a black photograph smaller."""
    layer = ChannelAttention(4, 2)
    x = brightness * torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    attention = layer.attention(layer.statistics(*layer.projections(x)[:2]))
    with torch.autocast("cpu", dtype=dtype):
        query, key, _ = layer.projections(x)
        assert query.dtype == dtype
        found = layer.attention(layer.statistics(query, key))
        assert layer(x).isfinite().all()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, attention, atol=0.01, rtol=0)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_drawn_weights(module: Module) -> Module:
    """In float64, with nothing left at zero or one."""
    module.double()
    for seed, parameter in enumerate(module.parameters()):
        parameter.data = 0.4 * drawn(*parameter.shape, seed=seed)
    return module


def depthwise(x: Tensor, weight: Tensor) -> Tensor:
    """A 3x3 convolution of each channel with a border of zeros, as nine shifted products."""
    height, width = x.shape[-2:]
    framed = nn.functional.pad(x, (1, 1, 1, 1))
    shifted = (
        framed[..., i : i + height, j : j + width] * weight[:, 0, i, j, None, None]
        for i in range(3)
        for j in range(3)
    )
    return sum(shifted, torch.zeros_like(x))


def pointwise(x: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("oi,bihw->bohw", weight[:, :, 0, 0], x)


# --- MDTA ---


def mdta_by_hand(layer: ChannelAttention, x: Tensor) -> Tensor:
    """q and k are normalised themselves, pixel by pixel, and the softmax is written out."""
    batch, channels, height, width = x.shape
    projected = depthwise(pointwise(x, layer.qkv.weight), layer.qkv_dwconv.weight)
    q, k, v = projected.reshape(batch, 3, layer.heads, channels // layer.heads, height * width).unbind(1)
    q, k = (part / part.square().sum(-1, keepdim=True).sqrt() for part in (q, k))
    logits = torch.einsum("bhip,bhjp->bhij", q, k) * layer.temperature
    attention = logits.exp() / logits.exp().sum(-1, keepdim=True)
    mixed = torch.einsum("bhij,bhjp->bhip", attention, v).reshape(batch, channels, height, width)
    return pointwise(mixed, layer.project_out.weight)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_mdta_by_hand(heads: int) -> None:
    layer, x = with_drawn_weights(ChannelAttention(8, heads)), drawn(2, 8, 5, 7)
    torch.testing.assert_close(layer(x), mdta_by_hand(layer, x))


def test_attention_rows_are_weights() -> None:
    layer, x = with_drawn_weights(ChannelAttention(8, 2)), drawn(2, 8, 5, 7)
    query, key, _ = layer.projections(x)
    attention = layer.attention(layer.statistics(query, key))
    assert attention.shape == (2, 2, 4, 4)
    assert (attention > 0).all()
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 2, 4, dtype=torch.float64))


def test_attention_ignores_the_lengths_of_q_and_k() -> None:
    layer = with_drawn_weights(ChannelAttention(8, 2))
    query, key = drawn(2, 8, 5, 7), drawn(2, 8, 5, 7, seed=1)
    lengths = drawn(8, 1, 1, seed=2).exp()
    expected = layer.attention(layer.statistics(query, key))
    torch.testing.assert_close(layer.attention(layer.statistics(lengths * query, key / lengths)), expected)


def test_statistics_of_halves_add_up_to_the_wholes() -> None:
    layer = with_drawn_weights(ChannelAttention(8, 2))
    query, key = drawn(2, 8, 6, 7), drawn(2, 8, 6, 7, seed=1)
    whole = layer.statistics(query, key)
    parts = [layer.statistics(query[..., rows, :], key[..., rows, :]) for rows in (slice(2), slice(2, None))]
    for found, expected in zip(parts[0] + parts[1], whole, strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(layer.attention(parts[0] + parts[1]), layer.attention(whole))


def test_statistics_by_hand() -> None:
    layer = with_drawn_weights(ChannelAttention(4, 2))
    query, key = drawn(1, 4, 2, 3), drawn(1, 4, 2, 3, seed=1)
    q, k = (part.reshape(1, 2, 2, 6) for part in (query, key))
    found = layer.statistics(query, key)
    torch.testing.assert_close(found.gram, torch.einsum("bhip,bhjp->bhij", q, k))
    torch.testing.assert_close(found.query, q.square().sum(-1))
    torch.testing.assert_close(found.key, k.square().sum(-1))


def test_statistics_add_to_nothing_else() -> None:
    sums = AttentionStatistics(*(torch.ones(1) for _ in range(3)))
    with pytest.raises(TypeError):
        add(sums, (1, 2, 3))


def test_a_channel_that_is_silent_everywhere_has_finite_gradients() -> None:
    """A black picture at the start of a training: q and k are exactly zero."""
    layer, x = ChannelAttention(4, 2), torch.zeros(1, 4, 3, 3, requires_grad=True)
    out = layer(x)
    assert not out.detach().any()
    (out + x).sum().backward()
    for tensor in (x, *layer.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


# --- GDFN ---


@pytest.mark.parametrize("expansion", [2.0, 2.66])
def test_gdfn_by_hand(expansion: float) -> None:
    layer, x = with_drawn_weights(GatedFeedForward(6, expansion)), drawn(2, 6, 4, 5)
    hidden = math.floor(6 * expansion)
    both = depthwise(pointwise(x, layer.project_in.weight), layer.dwconv.weight)
    gate, passed = both[:, :hidden], both[:, hidden:]
    normal = 0.5 * gate * (1 + torch.erf(gate / math.sqrt(2)))
    torch.testing.assert_close(layer(x), pointwise(normal * passed, layer.project_out.weight))


# --- norm and modulation ---


def test_the_norm_is_layer_norm_over_channels() -> None:
    layer, x = with_drawn_weights(ChannelNorm(6, None)), drawn(2, 6, 4, 5)
    plain = nn.LayerNorm(6).double()
    plain.load_state_dict(layer.body.state_dict())
    expected = plain(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(layer(x, None), expected)
    centred = x - x.mean(1, keepdim=True)
    by_hand = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    weight, bias = (tensor[:, None, None] for tensor in (layer.body.weight, layer.body.bias))
    torch.testing.assert_close(layer(x, None), weight * by_hand + bias)


def test_eq_7_by_hand() -> None:
    layer, x, prior = with_drawn_weights(ChannelNorm(6, 3)), drawn(2, 6, 4, 5), drawn(2, 3, seed=1)
    modulation = layer.modulation
    assert modulation is not None
    scale, shift = (
        (prior @ part.weight.T + part.bias)[:, :, None, None] for part in (modulation.scale, modulation.shift)
    )
    plain = ChannelNorm(6, None).double()
    plain.load_state_dict({name: tensor for name, tensor in layer.state_dict().items() if "body" in name})
    torch.testing.assert_close(layer(x, prior), scale * plain(x, None) + shift)


def test_modulation_begins_as_one_and_zero_whatever_the_prior() -> None:
    scale, shift = Modulation(3, 6)(torch.randn(2, 3))
    assert torch.equal(scale, torch.ones(2, 6))
    assert torch.equal(shift, torch.zeros(2, 6))


def test_modulation_begins_where_gradients_reach_its_weights() -> None:
    layer, x, prior = ChannelNorm(6, 3).double(), drawn(2, 6, 4, 5), drawn(2, 3, seed=1)
    (layer(x, prior) * drawn(2, 6, 4, 5, seed=2)).sum().backward()
    assert layer.modulation is not None
    for part in (layer.modulation.scale, layer.modulation.shift):
        assert part.weight.grad is not None
        assert (part.weight.grad != 0).all()


def test_a_modulated_norm_without_a_prior_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs a prior"):
        ChannelNorm(6, 3)(torch.zeros(1, 6, 4, 4), None)


# --- the block ---


def block_by_hand(block: TransformerBlock, x: Tensor, prior: Tensor | None) -> Tensor:
    x = x + mdta_by_hand(block.attn, block.norm1(x, prior))
    return x + block.ffn(block.norm2(x, prior))


@pytest.mark.parametrize("prior", [None, drawn(2, 3, seed=1)])
def test_a_block_adds_attention_and_feed_forward(prior: Tensor | None) -> None:
    block = with_drawn_weights(TransformerBlock(8, 2, 2.0, None if prior is None else 3))
    x = drawn(2, 8, 4, 5)
    torch.testing.assert_close(block(x, prior), block_by_hand(block, x, prior))


def test_a_fresh_modulated_block_is_the_plain_block_exactly() -> None:
    plain, modulated = with_drawn_weights(TransformerBlock(8, 2, 2.0, None)), TransformerBlock(8, 2, 2.0, 3)
    missing, unexpected = modulated.double().load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all(".modulation." in name for name in missing)
    x = drawn(2, 8, 4, 5)
    assert torch.equal(modulated(x, drawn(2, 3, seed=1)), plain(x, None))


def test_both_norms_of_a_block_take_the_prior() -> None:
    block, x = with_drawn_weights(TransformerBlock(8, 2, 2.0, 3)), drawn(2, 8, 4, 5)
    prior = drawn(2, 3, seed=1).requires_grad_()
    block(x, prior).sum().backward()
    for norm in (block.norm1, block.norm2):
        assert norm.modulation is not None
        assert norm.modulation.scale.weight.grad.any()
        assert norm.modulation.shift.weight.grad.any()
    assert prior.grad is not None
    assert (prior.grad != 0).all()


def test_channels_last_memory_gives_the_same() -> None:
    block, x, prior = with_drawn_weights(TransformerBlock(8, 2, 2.0, 3)), drawn(2, 8, 4, 5), drawn(2, 3)
    last = block(x.to(memory_format=torch.channels_last), prior)
    torch.testing.assert_close(last, block(x, prior))
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_gradients_of_a_modulated_block() -> None:
    block = with_drawn_weights(TransformerBlock(4, 2, 2.0, 3))
    x, prior = drawn(1, 4, 3, 2).requires_grad_(), drawn(1, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(block, (x, prior))

"""The whole Restormer: names of the released weights, levels of priors, memory, sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from relit.clip_restorex.restormer import Restormer, Upsample, padded
from relit.errors import ConfigurationError

TINY: dict[str, Any] = {"dim": 4, "blocks": (1, 1, 1, 1), "refinement": 1, "heads": (1, 2, 2, 2)}
PRIOR = 3
LEVEL_OF = {
    "encoder_level1": 1,
    "encoder_level2": 2,
    "encoder_level3": 3,
    "latent": 4,
    "decoder_level3": 3,
    "decoder_level2": 2,
    "decoder_level1": 1,
    "refinement": 1,
}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pictures(*size: int, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(count, 3, *size, dtype=torch.float64, generator=generator)


def built(prior: int | None = PRIOR, **settings: Any) -> Restormer:
    """With drawn weights, in float64."""
    network = Restormer(**TINY | {"prior": prior} | settings).double()
    for seed, parameter in enumerate(network.parameters()):
        parameter.data = 0.3 * drawn(*parameter.shape, seed=seed)
    return network


def priors(count: int = 4, seed: int = 0) -> Tensor:
    return drawn(2, count, PRIOR, seed=seed)


# --- the released weights ---


def released_shapes(
    dim: int, blocks: tuple[int, ...], refinement: int, heads: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a released Restormer's tensors, its norms having a bias."""
    shapes: dict[str, tuple[int, ...]] = {"patch_embed.proj.weight": (dim, 3, 3, 3)}

    def level(name: str, count: int, channels: int, head: int) -> None:
        hidden = int(channels * 2.66)
        for block in range(count):
            for norm in ("norm1", "norm2"):
                shapes[f"{name}.{block}.{norm}.body.weight"] = (channels,)
                shapes[f"{name}.{block}.{norm}.body.bias"] = (channels,)
            shapes[f"{name}.{block}.attn.temperature"] = (head, 1, 1)
            shapes[f"{name}.{block}.attn.qkv.weight"] = (3 * channels, channels, 1, 1)
            shapes[f"{name}.{block}.attn.qkv_dwconv.weight"] = (3 * channels, 1, 3, 3)
            shapes[f"{name}.{block}.attn.project_out.weight"] = (channels, channels, 1, 1)
            shapes[f"{name}.{block}.ffn.project_in.weight"] = (2 * hidden, channels, 1, 1)
            shapes[f"{name}.{block}.ffn.dwconv.weight"] = (2 * hidden, 1, 3, 3)
            shapes[f"{name}.{block}.ffn.project_out.weight"] = (channels, hidden, 1, 1)

    level("encoder_level1", blocks[0], dim, heads[0])
    level("encoder_level2", blocks[1], 2 * dim, heads[1])
    level("encoder_level3", blocks[2], 4 * dim, heads[2])
    level("latent", blocks[3], 8 * dim, heads[3])
    level("decoder_level3", blocks[2], 4 * dim, heads[2])
    level("decoder_level2", blocks[1], 2 * dim, heads[1])
    level("decoder_level1", blocks[0], 2 * dim, heads[0])
    level("refinement", refinement, 2 * dim, heads[0])
    shapes["down1_2.body.0.weight"] = (dim // 2, dim, 3, 3)
    shapes["down2_3.body.0.weight"] = (dim, 2 * dim, 3, 3)
    shapes["down3_4.body.0.weight"] = (2 * dim, 4 * dim, 3, 3)
    shapes["up4_3.body.0.weight"] = (16 * dim, 8 * dim, 3, 3)
    shapes["up3_2.body.0.weight"] = (8 * dim, 4 * dim, 3, 3)
    shapes["up2_1.body.0.weight"] = (4 * dim, 2 * dim, 3, 3)
    shapes["reduce_chan_level3.weight"] = (4 * dim, 8 * dim, 1, 1)
    shapes["reduce_chan_level2.weight"] = (2 * dim, 4 * dim, 1, 1)
    shapes["output.weight"] = (3, 2 * dim, 3, 3)
    return shapes


@pytest.mark.parametrize(("blocks", "refinement"), [((4, 6, 6, 8), 4), ((2, 2, 2, 2), 4), ((1, 2, 3, 4), 0)])
def test_the_plain_network_has_the_released_names_and_shapes(
    blocks: tuple[int, ...], refinement: int
) -> None:
    with torch.device("meta"):
        network = Restormer(48, blocks, refinement, prior=None)
    found = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert found == released_shapes(48, blocks, refinement, (1, 2, 4, 8))


def test_the_released_network_has_26_million_parameters() -> None:
    with torch.device("meta"):
        network = Restormer(48, (4, 6, 6, 8), 4, prior=None)
    assert sum(parameter.numel() for parameter in network.parameters()) == 26_126_644


def test_priors_add_modulation_and_change_no_other_name() -> None:
    plain, modulated = (set(built(prior).state_dict()) for prior in (None, PRIOR))
    assert plain < modulated
    parts = {name.split(".", 3)[-1] for name in modulated - plain}
    assert parts == {
        f"modulation.{part}.{kind}" for part in ("scale", "shift") for kind in ("weight", "bias")
    }


# --- what it computes ---


def test_an_upsampled_flat_area_begins_flat_and_can_learn_not_to_be() -> None:
    """No checkerboard to begin with: a pixel becomes four equal ones, whose kernels have their own slopes."""
    torch.manual_seed(0)
    layer = Restormer(**TINY | {"dim": 4, "heads": (1, 1, 1, 1)}).double().up2_1
    flat = drawn(2, 8, 1, 1).expand(2, 8, 6, 6)
    with torch.no_grad():
        up = layer(flat)[..., 2:-2, 2:-2]  # beyond the zeros that pad the border
    assert up.std() > 0.01
    torch.testing.assert_close(up, up[..., :1, :1].expand_as(up), atol=1e-6, rtol=0)
    kernels = layer.body[0].weight
    layer(drawn(2, 8, 6, 6)).mul(drawn(2, 4, 12, 12, seed=1)).sum().backward()
    assert kernels.grad is not None
    assert not torch.allclose(kernels.grad[0], kernels.grad[1])
    assert not torch.allclose(kernels[0], kernels[1])


def test_levelled_kernels_are_the_nearest_ones_that_keep_flat_areas_flat() -> None:
    """The change is a multiple of the constraint's normal: one number for a kernel, four that sum to zero."""
    layer = Upsample(8).double()
    kernels = layer.body[0].weight
    before = drawn(*kernels.shape)
    kernels.data.copy_(before)
    layer.level()
    change = (kernels - before).flatten(2)
    torch.testing.assert_close(change, change[..., :1].expand_as(change))
    of_four = change[..., 0].unflatten(0, (-1, 4))
    assert of_four.abs().max() > 0.01
    torch.testing.assert_close(of_four.sum(dim=1), torch.zeros_like(of_four[:, 0]), atol=1e-12, rtol=0)
    sums = kernels.sum(dim=(2, 3)).unflatten(0, (-1, 4))
    torch.testing.assert_close(sums, sums[:, :1].expand_as(sums))
    levelled = kernels.clone()
    layer.level()
    torch.testing.assert_close(kernels, levelled, atol=1e-12, rtol=0)


def test_a_flat_photograph_stays_flat_through_a_levelled_network() -> None:
    """Away from the border, as far as no padding is seen; before levelling it is a pattern of 8 pixels."""
    network = built(None, blocks=(0, 0, 0, 1), refinement=0)
    flat = torch.full((1, 3, 128, 128), 0.7, dtype=torch.float64)

    @torch.no_grad()
    def pattern() -> float:
        inner = (network(flat) - flat)[..., 56:72, 56:72]
        return float((inner - inner.mean(dim=(2, 3), keepdim=True)).abs().max())

    assert pattern() > 1e-3
    network.level()
    assert pattern() < 1e-9


def test_restormer_as_published_is_not_levelled() -> None:
    network = Restormer(**TINY, levelled=False)
    before = network.up2_1.body[0].weight.clone()
    network.level()
    assert torch.equal(network.up2_1.body[0].weight, before)
    sums = before.sum(dim=(2, 3)).unflatten(0, (-1, 4))
    assert (sums - sums[:, :1]).abs().max() > 0.01


def test_the_plain_network_by_its_parts() -> None:
    """The paths between the levels: what is kept, halved, joined and narrowed, and where."""
    net, images = built(None), pictures(16, 24)

    def through(blocks: Any, x: Tensor) -> Tensor:
        for block in blocks:
            x = block(x, None)
        return x

    def halved(layer: nn.Module, x: Tensor) -> Tensor:
        """Each 2x2 square becomes four channels."""
        x = layer.body[0](x)
        b, c, h, w = x.shape
        return (
            x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(b, 4 * c, h // 2, w // 2)
        )

    def doubled(layer: nn.Module, x: Tensor) -> Tensor:
        x = layer.body[0](x)
        b, c, h, w = x.shape
        squares = x.reshape(b, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3)
        return squares.reshape(b, c // 4, 2 * h, 2 * w)

    one = through(net.encoder_level1, net.patch_embed.proj(images))
    two = through(net.encoder_level2, halved(net.down1_2, one))
    three = through(net.encoder_level3, halved(net.down2_3, two))
    four = through(net.latent, halved(net.down3_4, three))
    assert [tuple(x.shape[1:]) for x in (one, two, three, four)] == [
        (4, 16, 24),
        (8, 8, 12),
        (16, 4, 6),
        (32, 2, 3),
    ]
    x = net.reduce_chan_level3(torch.cat([doubled(net.up4_3, four), three], dim=1))
    x = through(net.decoder_level3, x)
    x = net.reduce_chan_level2(torch.cat([doubled(net.up3_2, x), two], dim=1))
    x = through(net.decoder_level2, x)
    x = torch.cat([doubled(net.up2_1, x), one], dim=1)
    x = through(net.refinement, through(net.decoder_level1, x))
    torch.testing.assert_close(net(images), images + net.output(x))


def test_it_adds_what_it_predicts_to_its_input() -> None:
    network, images = built(), pictures(8, 8)
    nn.init.zeros_(network.output.weight)
    assert torch.equal(network(images, priors()), images)


def test_a_fresh_modulated_restormer_is_the_plain_one() -> None:
    plain, modulated = built(None), Restormer(**TINY, prior=PRIOR).double()
    missing, unexpected = modulated.load_state_dict(plain.state_dict(), strict=False)
    assert missing
    assert not unexpected
    images = pictures(16, 8)
    assert torch.equal(modulated(images, priors()), plain(images))


def test_photographs_of_a_batch_do_not_see_each_other() -> None:
    network, images, given = built(), pictures(8, 16), priors()
    alone = torch.cat([network(images[i : i + 1], given[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(network(images, given), alone)


# --- priors ---


@pytest.mark.parametrize("part", list(LEVEL_OF))
def test_each_part_is_modulated_by_its_levels_prior_alone(part: str) -> None:
    network, images, given = built(), pictures(8, 8), priors()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".modulation." in name and name.endswith("weight") and not name.startswith(f"{part}."):
                parameter.zero_()
    plain = network(images, given)
    for level in range(1, 5):
        changed = given.clone()
        changed[:, level - 1] += 1
        difference = (network(images, changed) - plain).abs().max()
        assert (difference > 1e-6) == (level == LEVEL_OF[part])
        assert level == LEVEL_OF[part] or difference == 0


def test_a_single_prior_serves_all_levels() -> None:
    network, images, one = built(), pictures(8, 8), priors(1)
    assert torch.equal(network(images, one), network(images, one.expand(-1, 4, -1)))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_any_other_number_of_priors_is_an_error(count: int) -> None:
    with pytest.raises(ValueError, match=f"expected 4 priors, or one for all levels, not {count}"):
        built()(pictures(8, 8), priors(count))


def test_priors_go_with_a_network_built_for_them() -> None:
    for network, given in ((built(), None), (built(None), priors())):
        with pytest.raises(ValueError, match="built with priors"):
            network(pictures(8, 8), given)


def test_gradients_reach_images_priors_and_every_weight() -> None:
    network, images, given = built(), pictures(16, 16).requires_grad_(), priors().requires_grad_()
    (network(images, given) * drawn(2, 3, 16, 16)).sum().backward()
    for tensor in (images, given, *network.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.any()


def test_a_black_photograph_trains_a_fresh_network_with_finite_gradients() -> None:
    network, images = Restormer(**TINY, prior=None), torch.rand(2, 3, 8, 8)
    images[1] = 0
    network(images).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


# --- memory ---


@pytest.mark.parametrize("given", [None, priors()])
def test_checkpointing_changes_neither_outputs_nor_gradients(given: Tensor | None) -> None:
    images, found = pictures(16, 8), []
    for checkpointing in (False, True):
        network = built(None if given is None else PRIOR, checkpointing=checkpointing)
        out = network(images, given)
        gradients = torch.autograd.grad((out * drawn(2, 3, 16, 8)).sum(), list(network.parameters()))
        found.append((out, *gradients))
    for plain, checkpointed in zip(*found, strict=True):
        torch.testing.assert_close(checkpointed, plain)


def test_checkpointing_keeps_fewer_activations() -> None:
    kept = []
    for checkpointing in (False, True):
        network, saved = built(None, checkpointing=checkpointing), []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, saved=saved: saved.append(x) or x, lambda x: x
        ):
            network(pictures(32, 32))
        kept.append(sum(tensor.numel() for tensor in saved))
    assert kept[1] < kept[0] / 2


def test_checkpointing_costs_nothing_where_no_gradients_are_asked_for() -> None:
    with torch.no_grad():
        images, given = pictures(8, 8), priors()
        assert torch.equal(built(checkpointing=True)(images, given), built()(images, given))


def test_channels_last_memory_gives_the_same() -> None:
    network, images, given = built(), pictures(16, 24), priors()
    last = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(last, given), network(images, given))
    network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(last, given), built()(images, given))


def test_bfloat16_stays_close() -> None:
    network, images, given = Restormer(**TINY, prior=PRIOR), pictures(16, 16).float(), priors().float()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    plain = network(images, given)
    assert (network(images, 2 * given) - plain).abs().max() > 0.01  # priors matter here
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(network(images, given), plain, atol=0.02, rtol=0)


# --- sizes ---


@pytest.mark.parametrize("size", [(8, 12), (4, 8), (9, 8), (1, 1)])
def test_sides_that_are_no_multiples_of_8_are_an_error(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"multiples of 8, not {size[1]}x{size[0]}; see padded"):
        built(None)(pictures(*size))


@pytest.mark.parametrize("size", [(8, 8), (16, 8), (8, 24)])
def test_nothing_is_added_to_sides_that_fit(size: tuple[int, int]) -> None:
    images = pictures(*size)
    assert torch.equal(padded(images), images)


@pytest.mark.parametrize(
    "size", [(13, 21), (9, 8), (8, 15), (17, 31), (5, 7), (6, 3), (4, 4), (3, 2), (1, 1)]
)
def test_other_sides_are_mirrored_or_where_too_short_repeated(size: tuple[int, int]) -> None:
    images = pictures(*size)
    expected = images.numpy()
    for axis, side in zip((2, 3), size, strict=True):
        amount = -side % 8
        around = [(0, amount if place == axis else 0) for place in range(4)]
        expected = np.pad(expected, around, mode="reflect" if amount < side else "edge")
    found = padded(images)
    assert torch.equal(found, torch.from_numpy(expected))
    assert torch.equal(found[..., : size[0], : size[1]], images)
    assert all(side % 8 == 0 for side in found.shape[-2:])
    assert built(None)(found).shape == found.shape


def test_a_single_pixel_fills_its_square() -> None:
    pixel = pictures(1, 1)
    assert torch.equal(padded(pixel), pixel.expand(-1, -1, 8, 8))


# --- settings ---


@pytest.mark.parametrize("key", ["blocks", "heads"])
def test_four_levels_need_four_numbers(key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"network\.restormer: expected 4 numbers in blocks and in"):
        Restormer(**TINY | {key: (1, 1, 1)})


def test_heads_must_divide_their_levels_channels() -> None:
    with pytest.raises(ConfigurationError, match="3 heads don't divide the 8 channels of level 2"):
        Restormer(**TINY | {"heads": (1, 3, 1, 1)})
    with pytest.raises(ConfigurationError, match="0 heads"):
        Restormer(**TINY | {"heads": (0, 1, 1, 1)})

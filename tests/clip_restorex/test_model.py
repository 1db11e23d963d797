"""CLIP-RestoreX as one network: what it is made of, how large it is, and the priors it is used with."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from relit.clip import FrozenClip
from relit.clip_loading import load_clip
from relit.clip_restorex.denoisers import ComplexDenoiser
from relit.clip_restorex.diffusion import PriorDiffusion, starting_noise
from relit.clip_restorex.model import RestoreX
from relit.clip_restorex.prior import ClipPriors, ImagePriors
from relit.clip_restorex.restormer import Restormer
from relit.errors import ConfigurationError

DIFFUSION = partial(PriorDiffusion, partial(ComplexDenoiser, hidden=16, layers=1))
RESTORMER = partial(Restormer, dim=4, blocks=(1, 1, 1, 1), refinement=1, heads=(1, 1, 1, 1))


@pytest.fixture(scope="module")
def clip() -> FrozenClip:
    return load_clip("tiny-ViT", "embedded")


def pictures(*size: int, count: int = 2) -> Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(count))


def built(diffusion: Any = DIFFUSION) -> RestoreX:
    return RestoreX(RESTORMER, ClipPriors(96, (3, 6, 9, 12), length=8), diffusion)


# --- size ---


def restormer_by_hand(dim: int, blocks: tuple[int, ...], refinement: int, heads: tuple[int, ...]) -> int:
    """Parameters of the plain network."""

    def block(channels: int, head: int) -> int:
        hidden = int(2.66 * channels)
        attention = head + 3 * channels * channels + 27 * channels + channels * channels
        feed_forward = 2 * hidden * channels + 18 * hidden + hidden * channels
        return 4 * channels + attention + feed_forward

    inside = blocks[0] * (block(dim, heads[0]) + block(2 * dim, heads[0])) + refinement * block(
        2 * dim, heads[0]
    )
    inside += 2 * blocks[1] * block(2 * dim, heads[1]) + 2 * blocks[2] * block(4 * dim, heads[2])
    inside += blocks[3] * block(8 * dim, heads[3])
    halving = sum(9 * c * c // 2 for c in (dim, 2 * dim, 4 * dim))
    doubling = sum(9 * c * 2 * c for c in (2 * dim, 4 * dim, 8 * dim))
    narrowing = 8 * dim * 4 * dim + 4 * dim * 2 * dim
    return inside + halving + doubling + narrowing + 27 * dim + 27 * 2 * dim


def modulation_by_hand(dim: int, blocks: tuple[int, ...], refinement: int, length: int) -> int:
    """Of W1 and W2 in both norms of every block: (D + 1) parameters for a channel."""
    channels = blocks[0] * (dim + 2 * dim) + refinement * 2 * dim
    channels += 2 * blocks[1] * 2 * dim + 2 * blocks[2] * 4 * dim + blocks[3] * 8 * dim
    return 4 * channels * (length + 1)


def test_the_papers_network_has_15_5_million_parameters() -> None:
    """dim 48, blocks 2-2-2-2 and 4, heads 1-2-4-8, D = 256, ViT-B/32, complex denoisers of 256."""
    sizes: tuple[Any, ...] = (48, (2, 2, 2, 2), 4)
    network = RestoreX(
        partial(Restormer),
        ClipPriors(768),
        partial(PriorDiffusion, partial(ComplexDenoiser, hidden=256, layers=2)),
    )
    conversion = 4 * (768 * 256 + 256 + 256 * 256 + 256)
    linear = (259 * 256 + 256) + (256 * 256 + 256) + (256 * 129 + 129)
    thresholds = 2 * 256
    expected = {
        "plain": restormer_by_hand(*sizes, (1, 2, 4, 8)),
        "modulation": modulation_by_hand(*sizes, 256),
        "priors": conversion,
        "diffusion": 4 * (2 * linear + thresholds),
    }
    found = dict.fromkeys(expected, 0)
    for name, parameter in network.named_parameters():
        part = name.split(".")[0]
        group = ("modulation" if ".modulation." in name else "plain") if part == "restormer" else part
        found[group] += parameter.numel()
    assert found == expected
    assert found == {
        "plain": 10_456_716,
        "modulation": 2_664_576,
        "priors": 1_050_624,
        "diffusion": 1_326_088,
    }
    assert sum(found.values()) == 15_498_004


# --- priors in use ---


def test_restored_priors_are_all_reverse_steps_from_the_starting_noise(clip: FrozenClip) -> None:
    network, images = built(), pictures(32, 40)
    assert network.priors is not None
    assert network.diffusion is not None
    condition = network.priors(torch.stack(clip.block_features(images, [3, 6, 9, 12]), dim=1))
    noise = starting_noise(1, 4, 8)
    expected = network.diffusion(condition, torch.stack([noise, noise]))
    torch.testing.assert_close(network.restored_priors(images, clip), expected)


def test_the_same_photograph_gives_the_same_priors_alone_and_in_a_batch(clip: FrozenClip) -> None:
    network, images = built(partial(DIFFUSION, reverse_noise="printed")), pictures(32, 40)
    torch.manual_seed(1)
    batch = network.restored_priors(images, clip)
    torch.manual_seed(2)
    alone = [network.restored_priors(images[i : i + 1], clip) for i in range(2)]
    assert batch is not None
    torch.testing.assert_close(batch, torch.cat([one for one in alone if one is not None]))


def test_without_diffusion_priors_are_as_converted(clip: FrozenClip) -> None:
    network, images = built(diffusion=None), pictures(32, 40)
    assert network.priors is not None
    expected = network.priors(network.priors.observe(images, clip))
    found = network.restored_priors(images, clip)
    assert found is not None
    assert torch.equal(found, expected)


def test_the_image_encoders_one_prior_is_restored_too() -> None:
    network = RestoreX(RESTORMER, ImagePriors(4, 8, 1), DIFFUSION)
    images = pictures(16, 16)
    restored = network.restored_priors(images, None)
    assert restored is not None
    assert restored.shape == (2, 1, 8)
    assert network.restormer(images, restored).shape == images.shape


def test_the_plain_restormer_has_no_priors() -> None:
    network, images = RestoreX(RESTORMER, None, None), pictures(16, 16)
    assert network.restored_priors(images, None) is None
    assert network.restormer(images, None).shape == images.shape
    assert {name.split(".")[0] for name in network.state_dict()} == {"restormer"}


def test_diffusion_without_priors_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"set network\.diffusion=null"):
        RestoreX(RESTORMER, None, DIFFUSION)


def test_the_result_teaches_every_part(clip: FrozenClip) -> None:
    network, images = built(), pictures(16, 16)
    for name, parameter in network.named_parameters():
        if ".modulation." in name:  # it begins where no prior matters yet
            nn.init.normal_(parameter, std=0.1)
    network.restormer(images, network.restored_priors(images, clip)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name

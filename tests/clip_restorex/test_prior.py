"""Priors: CLIP's features of chosen blocks, the conversion by hand, and who is trained."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from relit.clip import FrozenClip
from relit.clip_loading import load_clip
from relit.clip_restorex.prior import ClipPriors, ImagePriors, stacked_features
from relit.errors import ConfigurationError
from relit.frozen_tower import Token

WIDTH = 96


@pytest.fixture(scope="module")
def clip() -> FrozenClip:
    return load_clip("tiny-ViT", "embedded")


def pictures(*size: int, count: int = 2) -> Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(count))


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.1 * x)


# --- features ---


@pytest.mark.parametrize("token", ["class", "mean"])
@pytest.mark.parametrize("blocks", [(3, 6, 9, 12), (12, 1, 7), (5,)])
def test_what_priors_observe_is_clips_block_features(
    clip: FrozenClip, blocks: tuple[int, ...], token: Token
) -> None:
    images = pictures(40, 56)
    observed = ClipPriors(WIDTH, blocks, length=8, token=token).observe(images, clip)
    assert observed.shape == (2, len(blocks), WIDTH)
    for place, block in enumerate(blocks):
        (alone,) = clip.block_features(images, [block], token)
        torch.testing.assert_close(observed[:, place], alone)


def test_class_token_and_patches_mean_differ(clip: FrozenClip) -> None:
    one, other = (stacked_features(clip, pictures(32, 32), [3, 12], token) for token in ("class", "mean"))
    assert (one - other).abs().amax(dim=(0, 2)).min() > 0.1


@pytest.mark.parametrize("token", ["class", "mean"])
def test_stacked_features_let_gradients_reach_the_images_and_nothing_in_clip(
    clip: FrozenClip, token: Token
) -> None:
    images = pictures(32, 32).requires_grad_()
    stacked_features(clip, images, [3, 12], token).square().sum().backward()
    assert images.grad is not None
    assert images.grad.abs().amax(dim=(1, 2, 3)).min() > 0
    assert all(parameter.grad is None for parameter in clip._model.parameters())


def test_priors_observe_without_gradients(clip: FrozenClip) -> None:
    images = pictures(32, 32).requires_grad_()
    assert not ClipPriors(WIDTH, length=8).observe(images, clip).requires_grad


def test_priors_of_clip_need_a_clip() -> None:
    with pytest.raises(ConfigurationError, match=r"clip\.prior: priors need a CLIP"):
        ClipPriors(WIDTH).observe(pictures(32, 32), None)


# --- conversion ---


def test_the_conversion_is_two_linear_layers_for_each_block() -> None:
    priors, observed = ClipPriors(5, blocks=(1, 2, 3), length=4), torch.randn(2, 3, 5)
    (w1, b1), (w2, b2) = (
        (layer.weight, layer.bias) for layer in (priors.conversion[0], priors.conversion[2])
    )
    found = priors(observed)
    assert found.shape == (2, 3, 4)
    for n in range(3):
        hidden = leaky(F.linear(observed[:, n], w1[n].T, b1[n, 0]))
        torch.testing.assert_close(found[:, n], leaky(F.linear(hidden, w2[n].T, b2[n, 0])))


def test_only_the_conversion_is_trained(clip: FrozenClip) -> None:
    priors = ClipPriors(WIDTH, blocks=(3, 12), length=8)
    shapes = {name: tuple(parameter.shape) for name, parameter in priors.named_parameters()}
    assert shapes == {
        "conversion.0.weight": (2, WIDTH, 8),
        "conversion.0.bias": (2, 1, 8),
        "conversion.2.weight": (2, 8, 8),
        "conversion.2.bias": (2, 1, 8),
    }
    assert set(priors.state_dict()) == set(shapes)
    before = {name: tensor.clone() for name, tensor in clip._model.state_dict().items()}
    priors(priors.observe(pictures(32, 32), clip)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in priors.parameters())
    assert all(parameter.grad is None for parameter in clip._model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in clip._model.state_dict().items())


def test_there_are_as_many_priors_as_blocks() -> None:
    assert ClipPriors(WIDTH).count == 4
    assert ClipPriors(WIDTH, blocks=(1, 12)).count == 2


# --- the control without CLIP ---


def test_the_image_encoder_by_hand() -> None:
    encoder, images = ImagePriors(channels=4, length=6, residual_blocks=2).double(), pictures(16, 24).double()
    weights = list(encoder.features.parameters())

    def convolved(x: Tensor) -> Tensor:
        return F.conv2d(x, weights.pop(0), weights.pop(0), padding=1)

    x = leaky(convolved(F.pixel_unshuffle(images, 4)))
    for _ in range(2):
        x = x + convolved(leaky(convolved(x)))
    for _ in range(3):
        x = leaky(convolved(x))
    assert x.shape == (2, 6, 4, 6)
    x = x.mean(dim=(2, 3))
    for layer in (encoder.head[0], encoder.head[2]):
        x = leaky(x @ layer.weight.T + layer.bias)
    assert not weights
    torch.testing.assert_close(encoder(images), x[:, None])


def test_the_image_encoder_sees_the_images_themselves_and_is_trained_whole() -> None:
    encoder, images = ImagePriors(channels=4, length=6, residual_blocks=1), pictures(8, 8)
    assert encoder.observe(images, None) is images
    assert (encoder.count, encoder.length) == (1, 6)
    encoder(images).square().sum().backward()
    for parameter in encoder.parameters():
        assert parameter.grad is not None
        assert parameter.grad.any()


def test_the_image_encoder_is_diffirs_size() -> None:
    """48 to 64 channels, six residual blocks, 64 to 128 to 128 to 256, two layers of 256."""
    convolutions = [(48, 64), *[(64, 64)] * 12, (64, 128), (128, 128), (128, 256)]
    expected = sum(9 * i * o + o for i, o in convolutions) + 2 * (256 * 256 + 256)
    with torch.device("meta"):
        encoder: nn.Module = ImagePriors()
    assert sum(parameter.numel() for parameter in encoder.parameters()) == expected == 1_119_040

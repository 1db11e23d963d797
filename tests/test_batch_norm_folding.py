"""Folded batch normalisation changes how results are computed, and nothing else."""

from __future__ import annotations

import copy

import open_clip
import pytest
import torch
from torch import Tensor, nn

from relit.batch_norm_folding import fold_batch_norms
from relit.clip import ClipIdentity, FrozenClip
from relit.tiny_clip import architecture as tiny


def used(network: nn.Module) -> nn.Module:
    """With statistics and weights as training leaves them: no channel like another."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.normal_(module.weight, 1, 0.1, generator=generator)
            nn.init.normal_(module.bias, 0, 0.1, generator=generator)
    return network.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    resnet = open_clip.model.ModifiedResNet(
        layers=(1, 2, 1, 1), output_dim=8, heads=2, image_size=64, width=8
    )
    return used(resnet.double())


def features_and_gradient(network: nn.Module) -> list[Tensor]:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
    stages = network.forward_intermediates(images, intermediates_only=True)["image_intermediates"]  # type: ignore[operator]
    sum(stage.square().mean() for stage in stages).backward()
    assert images.grad is not None
    return [*(stage.detach() for stage in stages), images.grad, network(images).detach()]


def test_features_and_gradients_of_a_clip_resnet_stay_up_to_rounding(resnet: nn.Module) -> None:
    folded = copy.deepcopy(resnet)
    fold_batch_norms(folded)
    assert any(isinstance(module, nn.BatchNorm2d) for module in resnet.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    for expected, found in zip(features_and_gradient(resnet), features_and_gradient(folded), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_a_frozen_clip_sees_by_folded_convolutions_what_its_network_saw() -> None:
    model = tiny.build("tiny-ResNet")
    used(model)
    clip = FrozenClip(
        copy.deepcopy(model),
        tiny.tokenizer(),
        ClipIdentity("tiny-ResNet", "random", ""),
        tiny.IMAGE_MEAN,
        tiny.IMAGE_STD,
    )
    layers = [layer for layer in clip.image_network.modules() if isinstance(layer, nn.Conv2d)]
    assert layers
    assert all(layer.weight.is_contiguous(memory_format=torch.channels_last) for layer in layers)
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.visual.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in clip.image_network.modules())
    images = torch.rand(2, 3, *clip.image_size, generator=torch.Generator().manual_seed(2))
    expected = nn.functional.normalize(model.encode_image(clip.preprocess(images)), dim=-1)
    torch.testing.assert_close(clip.encode_image(images), expected, rtol=1e-4, atol=1e-5)


def test_a_norm_that_is_more_than_a_norm_is_left_alone() -> None:
    class WithActivation(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).relu()

    network = used(nn.Sequential(nn.Conv2d(3, 4, 3), WithActivation(4)))
    x = torch.rand(1, 3, 5, 5)
    expected = network(x)
    fold_batch_norms(network)
    torch.testing.assert_close(network(x), expected)


def test_what_is_frozen_stays_frozen(resnet: nn.Module) -> None:
    folded = copy.deepcopy(resnet)
    fold_batch_norms(folded)
    assert not any(parameter.requires_grad for parameter in folded.parameters())


def test_a_norm_that_no_convolution_precedes_is_left_alone() -> None:
    network = used(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)))
    x = torch.rand(1, 3, 5, 5)
    expected = network(x)
    fold_batch_norms(network)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network) == 2
    torch.testing.assert_close(network(x), expected)

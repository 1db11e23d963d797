"""Eq. (8)-(10) recomputed with python floats, their gradients, and L_SAP under a real CLIP."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from relit.clip import FrozenClip
from relit.clip_loading import load_clip
from relit.clip_restorex.losses import StructureAndPerceptionLoss, prior_loss, reconstruction_loss
from relit.frozen_tower import Token

BLOCKS = (3, 6, 9, 12)


@pytest.fixture(scope="module")
def clip() -> FrozenClip:
    return load_clip("tiny-ViT", "embedded")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pictures(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 24, 32, generator=torch.Generator().manual_seed(seed))


def summed_over_rows(one: Tensor, other: Tensor) -> float:
    """(B, n, D): the mean absolute difference of each of the n rows, summed."""
    total = 0.0
    for n in range(one.shape[1]):
        pairs = zip(one[:, n].flatten().tolist(), other[:, n].flatten().tolist(), strict=True)
        total += sum(abs(a - b) for a, b in pairs) / one[:, n].numel()
    return total


def test_eq_8_by_hand() -> None:
    restored, reference = drawn(3, 4, 5), drawn(3, 4, 5, seed=1)
    assert prior_loss(restored, reference).item() == pytest.approx(summed_over_rows(restored, reference))


def test_eq_8_sums_over_priors_and_averages_over_the_rest() -> None:
    reference = drawn(3, 4, 5)
    for count in (1, 2, 4):
        assert prior_loss(reference[:, :count] + 0.5, reference[:, :count]).item() == pytest.approx(
            0.5 * count
        )
    assert prior_loss(reference, reference).item() == 0


def test_eq_10s_l1_by_hand() -> None:
    result, reference = drawn(2, 3, 4, 5), drawn(2, 3, 4, 5, seed=1)
    pairs = zip(result.flatten().tolist(), reference.flatten().tolist(), strict=True)
    assert reconstruction_loss(result, reference).item() == pytest.approx(
        sum(abs(a - b) for a, b in pairs) / 120
    )
    assert reconstruction_loss(result, result).item() == 0


@pytest.mark.parametrize("loss", [prior_loss, reconstruction_loss, StructureAndPerceptionLoss()])
def test_every_loss_is_a_distance_with_the_gradient_of_one(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    one, other = drawn(2, 3, 4).requires_grad_(), drawn(2, 3, 4, seed=1).requires_grad_()
    torch.testing.assert_close(loss(one, other), loss(other, one))
    torch.testing.assert_close(loss(3 * one, 3 * other), 3 * loss(one, other))
    assert torch.autograd.gradcheck(loss, (one, other))


# --- L_SAP ---


@pytest.mark.parametrize("token", ["class", "mean"])
@pytest.mark.parametrize("blocks", [BLOCKS, (1,), (9, 2)])
def test_eq_9_by_hand(clip: FrozenClip, blocks: tuple[int, ...], token: Token) -> None:
    sap, result, reference = StructureAndPerceptionLoss(blocks, token), pictures(2), pictures(2, seed=1)
    expected = 0.0
    for block in blocks:
        (of_result,), (of_reference,) = (
            clip.block_features(images, [block], token) for images in (result, reference)
        )
        expected += (of_result - of_reference).abs().mean().item()
    found = sap(sap.features(clip, result), sap.features(clip, reference))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_eq_9_on_features_by_hand() -> None:
    one, other = drawn(2, 4, 6), drawn(2, 4, 6, seed=1)
    assert StructureAndPerceptionLoss()(one, other).item() == pytest.approx(summed_over_rows(one, other))


def test_eq_9_is_zero_for_identical_images_alone(clip: FrozenClip) -> None:
    sap = StructureAndPerceptionLoss()
    dark, bright = sap.features(clip, 0.3 * pictures(1)), sap.features(clip, pictures(1))
    assert sap(bright, bright).item() == 0
    assert sap(dark, bright) > 0.1


def test_eq_9_teaches_the_result_and_never_clip(clip: FrozenClip) -> None:
    sap, reference = StructureAndPerceptionLoss(), pictures(2, seed=1)
    result = (0.3 * reference).requires_grad_()
    loss = sap(sap.features(clip, result), sap.features(clip, reference))
    loss.backward()
    gradient = result.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient.abs().amax(dim=(1, 2, 3)).min() > 0
    assert all(parameter.grad is None for parameter in clip._model.parameters())
    step = result.detach() - 1e-4 * gradient / gradient.norm() * result.numel() ** 0.5
    assert sap(sap.features(clip, step), sap.features(clip, reference)) < loss


def test_the_defaults_are_the_papers() -> None:
    sap = StructureAndPerceptionLoss()
    assert (sap.blocks, sap.token, sap.weight) == (BLOCKS, "class", 1.0)

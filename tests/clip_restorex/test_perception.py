"""L_SAP with its CLIP: the same with features known or not, and when they may be taken as known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from relit.clip import FrozenClip
from relit.clip_loading import load_clip
from relit.clip_restorex.losses import StructureAndPerceptionLoss
from relit.clip_restorex.perception import Perception
from relit.clip_restorex.prior import ClipPriors, ImagePriors
from relit.frozen_tower import Token

WIDTH = 96


@pytest.fixture(scope="module")
def clip() -> FrozenClip:
    return load_clip("tiny-ViT", "embedded")


def pictures(seed: int = 0) -> Tensor:
    return torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("token", ["class", "mean"])
def test_known_features_give_the_same_loss_and_gradient(clip: FrozenClip, token: Token) -> None:
    perception = Perception(StructureAndPerceptionLoss((3, 9), token), clip)
    priors = ClipPriors(WIDTH, (3, 9), length=8, token=token)
    result, reference = pictures().requires_grad_(), pictures(seed=1)
    assert perception.knows(priors, clip)
    seen = priors.observe(reference, clip)
    found = [perception(result, reference, known) for known in (None, seen)]
    gradients = [torch.autograd.grad(loss, result)[0] for loss in found]
    assert torch.equal(*found)
    assert torch.equal(*gradients)
    assert gradients[0].isfinite().all()
    assert gradients[0].any()


def test_the_reference_is_seen_without_gradients(clip: FrozenClip) -> None:
    perception = Perception(StructureAndPerceptionLoss((3,)), clip)
    result, reference = pictures().requires_grad_(), pictures(seed=1).requires_grad_()
    perception(result, reference, None).backward()
    assert reference.grad is None
    assert result.grad is not None


def test_the_weight_of_eq_10_is_in_it(clip: FrozenClip) -> None:
    result, reference = pictures(), pictures(seed=1)
    loss = StructureAndPerceptionLoss((3, 9), weight=0.25)
    features = [loss.features(clip, images) for images in (result, reference)]
    found = Perception(loss, clip)(result, reference, None)
    torch.testing.assert_close(found, 0.25 * loss(*features))
    assert Perception(loss, clip)(result, result, None).item() == 0


def test_nothing_of_it_is_trained_or_saved(clip: FrozenClip) -> None:
    perception = Perception(StructureAndPerceptionLoss((3,)), clip)
    perception(pictures().requires_grad_(), pictures(seed=1), None).backward()
    assert not list(perception.parameters())
    assert not perception.state_dict()
    assert all(parameter.grad is None for parameter in clip._model.parameters())


def test_the_same_features_of_the_same_clip_are_known(clip: FrozenClip) -> None:
    loss = StructureAndPerceptionLoss([3, 9], "mean")
    assert Perception(loss, clip).knows(ClipPriors(WIDTH, [3, 9], 8, "mean"), clip)


def test_other_features_are_not_known(clip: FrozenClip) -> None:
    perception, other = (
        Perception(StructureAndPerceptionLoss((3, 9)), clip),
        load_clip("tiny-ViT", "embedded"),
    )
    assert perception.knows(ClipPriors(WIDTH, (3, 9)), clip)
    assert not perception.knows(ClipPriors(WIDTH, (3, 9)), other)
    assert not perception.knows(ClipPriors(WIDTH, (3, 9)), None)
    assert not perception.knows(ClipPriors(WIDTH, (9, 3)), clip)
    assert not perception.knows(ClipPriors(WIDTH, (3, 9, 12)), clip)
    assert not perception.knows(ClipPriors(WIDTH, (3, 9), token="mean"), clip)
    assert not perception.knows(ImagePriors(4, 8, 1), clip)

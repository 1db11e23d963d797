"""Learning to restore priors: what a batch teaches is what its samples teach."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from relit.clip import FrozenClip
from relit.clip_loading import load_clip
from relit.clip_restorex.denoisers import SpatialDenoiser
from relit.clip_restorex.diffusion import PriorDiffusion
from relit.clip_restorex.model import RestoreX
from relit.clip_restorex.prior import ClipPriors
from relit.clip_restorex.prior_restorer import PriorRestorer
from relit.clip_restorex.restormer import Restormer
from relit.keyed import keyed_generator
from relit.stage_context import StageContext

POSITIONS = [3, 8, 11, 20]


@pytest.fixture(scope="module")
def clip() -> FrozenClip:
    return load_clip("tiny-ViT", "embedded")


def restorer(noise_weight: float, **diffusion: Any) -> PriorRestorer:
    torch.manual_seed(0)
    denoiser = partial(SpatialDenoiser, hidden=8, layers=1)
    network = RestoreX(
        partial(Restormer, dim=4, blocks=(1, 1, 1, 1), heads=(1, 1, 1, 1), refinement=1),
        ClipPriors(96, length=8),
        partial(PriorDiffusion, denoiser, **diffusion),
    )
    assert network.priors is not None
    context = StageContext(
        name="warm_up", index=2, count=3, round=0, seed=5,
        weights={"reference_priors": network.priors.state_dict()},
        run_dir=Path(), clip={}, network=lambda: network,
    )  # fmt: skip
    return PriorRestorer(network, context, noise_weight)


def crops(key: str) -> Tensor:
    return torch.rand(4, 3, 16, 16, generator=keyed_generator(key))


@pytest.mark.parametrize("predicts", ["prior", "noise"])
def test_the_losses_of_a_batch_are_the_means_of_its_samples(clip: FrozenClip, predicts: str) -> None:
    learning = restorer(0.7, predicts=predicts, reverse_noise="printed")
    inputs, reference = crops("inputs"), crops("reference")
    _, together, _ = learning.learn(inputs, reference, clip, POSITIONS)
    alone = [
        learning.learn(inputs[[i]], reference[[i]], clip, [position])[1]
        for i, position in enumerate(POSITIONS)
    ]
    for name in ("prior", "noise"):
        mean = torch.stack([losses[name] for losses in alone]).mean()
        torch.testing.assert_close(together[name], mean, rtol=1e-5, atol=1e-6)


def test_samples_are_denoised_at_different_steps(clip: FrozenClip) -> None:
    """Eq. (6) by hand, at the step that each position draws."""
    learning = restorer(1.0)
    assert learning.diffusion is not None
    inputs, reference = crops("inputs"), crops("reference")
    _, losses, _ = learning.learn(inputs, reference, clip, POSITIONS)
    clean = learning.reference_priors(learning.priors.observe(reference, clip))
    condition = learning.priors(learning.priors.observe(inputs, clip))
    expected, steps = [], set()
    for i, position in enumerate(POSITIONS):
        t = 1 + int(4 * torch.rand((), generator=keyed_generator(5, "diffusion step", position)))
        noise = torch.randn(1, 4, 8, generator=keyed_generator(5, "diffusion", position))
        steps.add(t)
        kept = learning.diffusion.schedule.alpha_bar[t]
        x = kept**0.5 * clean[[i]] + (1 - kept) ** 0.5 * noise
        predicted = learning.diffusion.denoiser(x, condition[[i]], t / 4)
        expected.append((predicted - clean[[i]]).square().mean())
    assert len(steps) > 1
    torch.testing.assert_close(losses["noise"], torch.stack(expected).mean(), rtol=1e-5, atol=1e-6)


def test_without_a_weight_there_is_no_eq_6(clip: FrozenClip) -> None:
    _, losses, _ = restorer(0.0).learn(crops("inputs"), crops("reference"), clip, POSITIONS)
    assert set(losses) == {"prior"}


def test_only_converter_and_diffusion_learn(clip: FrozenClip) -> None:
    learning = restorer(0.0)
    _, losses, _ = learning.learn(crops("inputs"), crops("reference"), clip, POSITIONS)
    losses["prior"].backward()
    moved = {name.partition(".")[0] for name, p in learning.named_parameters() if p.grad is not None}
    assert moved == {"priors", "diffusion"}
    assert all(p.grad is not None for p in learning.parameters() if p.requires_grad)

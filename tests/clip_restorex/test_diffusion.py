"""Every reverse step against its closed form, and the whole of them against a loop written by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from operator import mul
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from relit.clip_restorex.denoisers import (
    AmplitudePhaseDenoiser,
    ComplexDenoiser,
    Denoiser,
    DenseFrequencyDenoiser,
    SpatialDenoiser,
)
from relit.clip_restorex.diffusion import (
    Predicts,
    PriorDiffusion,
    ReverseNoise,
    starting_noise,
    training_noise,
)
from relit.errors import ConfigurationError

COUNT, LENGTH = 3, 8
KINDS = [SpatialDenoiser, DenseFrequencyDenoiser, ComplexDenoiser, AmplitudePhaseDenoiser]
EVERY_WAY = [(predicts, added) for predicts in get_args(Predicts) for added in get_args(ReverseNoise)]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def betas_by_hand(steps: int) -> list[float]:
    """beta_0 = 0, so that beta_t stands at t."""
    first, last = math.sqrt(0.1), math.sqrt(0.99)
    ramp = (last - (last - first) * back / max(1, steps - 1) for back in reversed(range(steps)))
    return [0.0, *(root**2 for root in ramp)]


def alpha_bars_by_hand(steps: int) -> list[float]:
    return list(accumulate((1 - beta for beta in betas_by_hand(steps)), mul))


class Known(Denoiser):
    """Answers with a function of x, c and t / T, in a basis of its own: priors in reverse, negated."""

    def __init__(self, answer: Callable[[Tensor, Tensor, float], Tensor], length: int, count: int) -> None:
        super().__init__(length, count, hidden=1, layers=1)
        self.answer = answer

    def coordinates(self, prior: Tensor) -> Tensor:
        return -prior.flip(-1)

    def prior(self, coordinates: Tensor) -> Tensor:
        return -coordinates.flip(-1)

    def forward(self, x: Tensor, condition: Tensor, time: float) -> Tensor:
        return self.answer(x, condition, time)


def polynomial(x: Tensor, condition: Tensor, time: float) -> Tensor:
    return 0.3 * x - 0.2 * condition.square() + time * condition


def by_closed_form(
    x: Tensor, predicted: Tensor, t: int, steps: int, predicts: str
) -> tuple[Tensor, dict[str, float]]:
    """The mean of x_{t-1} by Bayes' rule, and the variance of each kind of reverse noise."""
    beta, before, now = betas_by_hand(steps)[t], *alpha_bars_by_hand(steps)[t - 1 : t + 1]
    of_noise = (x - math.sqrt(1 - now) * predicted) / math.sqrt(now)
    x0 = of_noise if predicts == "noise" else predicted
    if t == 1:
        return x0, {"none": 0.0, "posterior": 0.0, "printed": beta}
    variance = 1 / ((1 - beta) / beta + 1 / (1 - before))
    mean = variance * (math.sqrt(1 - beta) / beta * x + math.sqrt(before) / (1 - before) * x0)
    return mean, {"none": 0.0, "posterior": variance, "printed": beta}


def by_hand(
    denoiser: Denoiser,
    condition: Tensor,
    noise: Tensor,
    clean: Tensor | None,
    steps: int,
    predicts: str,
    reverse_noise: str,
) -> Tensor:
    """P' step by step; ``noise`` is (B, draws, n, D)."""
    x, c = denoiser.coordinates(noise[:, 0]), denoiser.coordinates(condition)
    if clean is not None:
        kept = alpha_bars_by_hand(steps)[-1]
        x = math.sqrt(kept) * denoiser.coordinates(clean) + math.sqrt(1 - kept) * x
    for t in range(steps, 0, -1):
        x, variances = by_closed_form(x, denoiser(x, c, t / steps), t, steps, predicts)
        if variances[reverse_noise] > 0:
            x = x + math.sqrt(variances[reverse_noise]) * denoiser.coordinates(noise[:, t])
    return denoiser.prior(x)


def known(answer: Callable[[Tensor, Tensor, float], Tensor], **settings: Any) -> PriorDiffusion:
    return PriorDiffusion(partial(Known, answer), LENGTH, COUNT, **settings)


def trained(kind: type[Denoiser], **settings: Any) -> PriorDiffusion:
    """With drawn weights, in float64."""
    model = PriorDiffusion(partial(kind, hidden=12, layers=2), LENGTH, COUNT, **settings).double()
    for seed, parameter in enumerate(model.parameters()):
        parameter.data = 0.3 * drawn(*parameter.shape, seed=seed)
    return model


# --- one step ---


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize(("predicts", "reverse_noise"), EVERY_WAY)
def test_every_step_back_is_the_closed_form(predicts: str, reverse_noise: str, steps: int) -> None:
    model = known(polynomial, steps=steps, predicts=predicts, reverse_noise=reverse_noise)
    x, c = drawn(2, COUNT, LENGTH), drawn(2, COUNT, LENGTH, seed=1)
    for t in range(1, steps + 1):
        mean, variances = by_closed_form(x, polynomial(x, c, t / steps), t, steps, predicts)
        torch.testing.assert_close(model.reverse_mean(x, c, t), mean)
        assert model.reverse_variance(t) == pytest.approx(variances[reverse_noise], abs=1e-15)


# --- all steps ---


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize(("predicts", "reverse_noise"), EVERY_WAY)
def test_a_known_function_is_followed_step_by_step(
    predicts: str, reverse_noise: str, steps: int, training: bool
) -> None:
    model = known(polynomial, steps=steps, predicts=predicts, reverse_noise=reverse_noise)
    condition, noise = drawn(2, COUNT, LENGTH), drawn(2, model.draws, COUNT, LENGTH, seed=1)
    clean = drawn(2, COUNT, LENGTH, seed=2) if training else None
    expected = by_hand(model.denoiser, condition, noise, clean, steps, predicts, reverse_noise)
    torch.testing.assert_close(model(condition, noise, clean), expected)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("predicts", "reverse_noise"), EVERY_WAY)
def test_every_denoiser_is_followed_step_by_step(
    predicts: str, reverse_noise: str, kind: type[Denoiser], training: bool
) -> None:
    model = trained(kind, predicts=predicts, reverse_noise=reverse_noise)
    condition, noise = drawn(2, COUNT, LENGTH), drawn(2, model.draws, COUNT, LENGTH, seed=1)
    clean = drawn(2, COUNT, LENGTH, seed=2) if training else None
    expected = by_hand(model.denoiser, condition, noise, clean, 4, predicts, reverse_noise)
    torch.testing.assert_close(model(condition, noise, clean), expected)


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("reverse_noise", ["none", "posterior"])
@pytest.mark.parametrize("predicts", get_args(Predicts))
def test_who_knows_the_answer_recovers_the_clean_prior(predicts: str, reverse_noise: str, steps: int) -> None:
    clean = drawn(2, COUNT, LENGTH)

    def oracle(x: Tensor, condition: Tensor, time: float) -> Tensor:
        if predicts == "prior":
            return condition
        now = alpha_bars_by_hand(steps)[round(time * steps)]
        return (x - math.sqrt(now) * condition) / math.sqrt(1 - now)

    model = known(oracle, steps=steps, predicts=predicts, reverse_noise=reverse_noise)
    noise = drawn(2, model.draws, COUNT, LENGTH, seed=1)
    for training in (clean, None):
        torch.testing.assert_close(model(clean, noise, training), clean)


def test_noise_as_printed_stays_in_the_recovered_prior() -> None:
    model = known(lambda x, condition, time: condition, reverse_noise="printed")
    clean, noise = drawn(2, COUNT, LENGTH), drawn(2, 5, COUNT, LENGTH, seed=1)
    torch.testing.assert_close(model(clean, noise), clean + math.sqrt(0.1) * noise[:, 1])


def test_in_training_the_beginning_keeps_a_little_of_the_reference() -> None:
    """With four steps 0.3 %, in power."""
    begun: list[Tensor] = []

    def watch(x: Tensor, condition: Tensor, time: float) -> Tensor:
        begun.append(x)
        return x

    model, noise = known(watch), drawn(2, 1, COUNT, LENGTH)
    model(noise[:, 0], noise, clean=torch.zeros(2, COUNT, LENGTH).double())
    model(noise[:, 0], noise, clean=torch.ones(2, COUNT, LENGTH).double())
    kept = model.denoiser.prior(begun[4] - begun[0])
    share = math.prod(1 - beta for beta in betas_by_hand(4))
    assert share < 0.003
    torch.testing.assert_close(kept, torch.full_like(kept, math.sqrt(share)))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_condition_reference_and_denoiser(kind: type[Denoiser]) -> None:
    model = trained(kind)
    condition, clean = (drawn(2, COUNT, LENGTH, seed=seed).requires_grad_() for seed in range(2))
    model(condition, drawn(2, 1, COUNT, LENGTH, seed=2), clean).square().sum().backward()
    for tensor in (condition, clean, *model.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.any()


@pytest.mark.parametrize("kind", [SpatialDenoiser, ComplexDenoiser])
def test_gradients_are_those_of_all_steps_together(kind: type[Denoiser]) -> None:
    model, condition = trained(kind, steps=3), drawn(1, COUNT, LENGTH).requires_grad_()
    noise = drawn(1, 1, COUNT, LENGTH, seed=1)
    assert torch.autograd.gradcheck(lambda c: model(c, noise), (condition,))


@pytest.mark.parametrize("reverse_noise", get_args(ReverseNoise))
def test_samples_of_a_batch_do_not_see_each_other(reverse_noise: str) -> None:
    model = trained(ComplexDenoiser, reverse_noise=reverse_noise)
    condition, noise = drawn(2, COUNT, LENGTH), drawn(2, model.draws, COUNT, LENGTH, seed=1)
    alone = torch.cat([model(condition[i : i + 1], noise[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(model(condition, noise), alone)


# --- Eq. (6) ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("predicts", get_args(Predicts))
def test_eq_6_by_hand(predicts: str, kind: type[Denoiser]) -> None:
    model = trained(kind, predicts=predicts)
    clean, condition, noise = (drawn(2, COUNT, LENGTH, seed=seed) for seed in range(3))
    see, back = model.denoiser.coordinates, model.denoiser.prior
    for t, kept in enumerate(alpha_bars_by_hand(4)[1:], start=1):
        x_t = see(math.sqrt(kept) * clean + math.sqrt(1 - kept) * noise)
        wanted = noise if predicts == "noise" else clean
        difference = wanted - back(model.denoiser(x_t, see(condition), t / 4))
        expected = sum(number**2 for number in difference.flatten().tolist()) / difference.numel()
        assert model.denoising_error(clean, condition, noise, t).item() == pytest.approx(expected)


def test_eq_6_is_zero_for_who_knows_the_answer() -> None:
    noise, clean = drawn(2, COUNT, LENGTH), drawn(2, COUNT, LENGTH, seed=1)
    for predicts, answer in (("noise", noise), ("prior", clean)):
        model = known(lambda x, condition, time: condition, predicts=predicts)
        assert model.denoising_error(clean, answer, noise, 3).item() == pytest.approx(0, abs=1e-20)


# --- precision ---


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_changes_nothing(kind: type[Denoiser]) -> None:
    model = trained(kind).float()
    condition, noise = drawn(2, COUNT, LENGTH).float(), drawn(2, 1, COUNT, LENGTH, seed=1).float()
    clean = drawn(2, COUNT, LENGTH, seed=2).float()
    plain, error = model(condition, noise, clean), model.denoising_error(clean, condition, noise[:, 0], 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, found_error = (
            model(condition, noise, clean),
            model.denoising_error(clean, condition, noise[:, 0], 2),
        )
        halved = model(condition.bfloat16(), noise.bfloat16(), clean.bfloat16())
    assert found.dtype == found_error.dtype == halved.dtype == torch.float32
    assert torch.equal(found, plain)
    assert torch.equal(found_error, error)
    torch.testing.assert_close(halved, plain, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_close_to_float64(kind: type[Denoiser]) -> None:
    condition, noise = drawn(2, COUNT, LENGTH), drawn(2, 1, COUNT, LENGTH, seed=1)
    expected = trained(kind)(condition, noise)
    found = trained(kind).float()(condition.float(), noise.float())
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)


# --- noise ---


@pytest.mark.parametrize("steps", [1, 4])
def test_one_draw_to_begin_with_and_one_for_each_step_that_adds_noise(steps: int) -> None:
    draws = {
        added: known(polynomial, steps=steps, reverse_noise=added).draws for added in get_args(ReverseNoise)
    }
    assert draws == {"none": 1, "posterior": 1 + steps, "printed": 1 + steps}


def test_the_starting_noise_is_always_the_same() -> None:
    torch.manual_seed(1)
    first = starting_noise(5, 4, 256)
    torch.manual_seed(2)
    assert torch.equal(starting_noise(5, 4, 256), first)
    assert first.shape == (5, 4, 256)
    assert first.mean().item() == pytest.approx(0, abs=0.05)
    assert first.std().item() == pytest.approx(1, abs=0.05)


def test_training_noise_is_a_function_of_seed_and_position() -> None:
    both = training_noise([7, 12], seed=3, draws=2, count=COUNT, length=LENGTH)
    apart = [training_noise([position], 3, 2, COUNT, LENGTH) for position in (7, 12)]
    assert both.shape == (2, 2, COUNT, LENGTH)
    assert torch.equal(both, torch.cat(apart))
    others = [training_noise([7], 4, 2, COUNT, LENGTH), training_noise([8], 3, 2, COUNT, LENGTH), apart[1]]
    assert all((other - apart[0]).abs().max() > 0.1 for other in others)


def test_drawing_noise_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    starting_noise(1, COUNT, LENGTH)
    training_noise([0], 0, 1, COUNT, LENGTH)
    assert torch.equal(torch.random.get_rng_state(), before)


# --- settings ---


@pytest.mark.parametrize(("key", "value"), [("predicts", "eps"), ("reverse_noise", "some")])
def test_unknown_settings_are_refused_by_name(key: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"network\.diffusion\.{key}={value}: expected one of"):
        known(polynomial, **{key: value})


def test_the_defaults_are_diffirs() -> None:
    model = known(polynomial)
    assert (model.schedule.steps, model.predicts, model.reverse_noise) == (4, "prior", "none")

"""Eq. (2)-(5) against Gaussians put together by hand: composed step by step, and by Bayes' rule."""

from __future__ import annotations

import math
from itertools import accumulate
from operator import mul
from typing import Any

import pytest
import torch
from torch import Tensor

from relit.clip_restorex.schedule import Schedule, betas
from relit.errors import ConfigurationError

STEPS = [1, 2, 4, 8]
EVERY_STEP = [(steps, t) for steps in STEPS for t in range(1, steps + 1)]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def beta_by_hand(steps: int) -> list[float]:
    first, last = math.sqrt(0.1), math.sqrt(0.99)
    return [(last - (last - first) * back / max(1, steps - 1)) ** 2 for back in reversed(range(steps))]


def alpha_bar_by_hand(steps: int) -> list[float]:
    """alpha_bar_0 ... alpha_bar_T."""
    return [1.0, *accumulate((1 - beta for beta in beta_by_hand(steps)), mul)]


def test_betas_of_four_steps() -> None:
    assert betas(4).tolist() == pytest.approx([0.1, 0.294, 0.591, 0.99], abs=5e-4)
    assert betas(1).tolist() == pytest.approx([0.99])


@pytest.mark.parametrize("steps", STEPS)
def test_betas_are_squares_of_a_linear_ramp(steps: int) -> None:
    beta = betas(steps)
    assert beta.dtype == torch.float64
    assert beta.tolist() == pytest.approx(beta_by_hand(steps), rel=1e-12)
    differences = beta.sqrt().diff()
    torch.testing.assert_close(differences, differences[:1].expand_as(differences))


@pytest.mark.parametrize("steps", STEPS)
def test_alphas_and_their_products(steps: int) -> None:
    schedule = Schedule(steps)
    assert schedule.steps == steps
    assert schedule.alpha_bar == pytest.approx(alpha_bar_by_hand(steps), rel=1e-12)
    for t, beta in enumerate(beta_by_hand(steps), start=1):
        assert schedule.beta[t] == pytest.approx(beta)
        assert schedule.alpha(t) == pytest.approx(1 - beta)


@pytest.mark.parametrize("steps", STEPS)
def test_eq_3_is_eq_2_step_by_step(steps: int) -> None:
    """x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) eps_t, composed: a mean and a variance."""
    schedule, share, variance = Schedule(steps), 1.0, 0.0
    for t, beta in enumerate(beta_by_hand(steps), start=1):
        share, variance = math.sqrt(1 - beta) * share, (1 - beta) * variance + beta
        one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        assert schedule.noised(one, zero, t).item() == pytest.approx(share)
        assert schedule.noised(zero, one, t).item() ** 2 == pytest.approx(variance)
        x0, noise = drawn(3, 2), drawn(3, 2, seed=1)
        torch.testing.assert_close(schedule.noised(x0, noise, t), share * x0 + math.sqrt(variance) * noise)


@pytest.mark.parametrize("t", [1, 2, 3, 4])
def test_eq_3_in_numbers(t: int) -> None:
    """Samples that went through Eq. (2) one step after the other have the moments of Eq. (3)."""
    x = torch.full((200_000,), 1.5, dtype=torch.float64)
    for step, beta in enumerate(beta_by_hand(4)[:t]):
        x = math.sqrt(1 - beta) * x + math.sqrt(beta) * drawn(len(x), seed=step)
    alpha_bar = Schedule(4).alpha_bar[t]
    assert x.mean().item() == pytest.approx(1.5 * math.sqrt(alpha_bar), abs=0.01)
    assert x.var().item() == pytest.approx(1 - alpha_bar, abs=0.01)


@pytest.mark.parametrize(("steps", "t"), EVERY_STEP)
def test_eq_4_is_bayes_rule(steps: int, t: int) -> None:
    """q(x_{t-1} | x_t, x_0) is proportional to q(x_t | x_{t-1}) q(x_{t-1} | x_0): precisions add up.

    As functions of x_{t-1} these have the means x_t / sqrt(alpha_t) and sqrt(alpha_bar_{t-1}) x_0 and the
    variances beta_t / alpha_t and 1 - alpha_bar_{t-1}; at t = 1 the second one is a point.
    """
    schedule, x_t, x0 = Schedule(steps), drawn(2, 3), drawn(2, 3, seed=1)
    beta, before = beta_by_hand(steps)[t - 1], alpha_bar_by_hand(steps)[t - 1]
    likelihood, prior = x_t / math.sqrt(1 - beta), math.sqrt(before) * x0
    if t == 1:
        mean, variance = prior, 0.0
    else:
        precisions = (1 - beta) / beta, 1 / (1 - before)
        variance = 1 / sum(precisions)
        mean = variance * (precisions[0] * likelihood + precisions[1] * prior)
    torch.testing.assert_close(schedule.posterior_mean(x_t, x0, t), mean)
    assert schedule.posterior_variance(t) == pytest.approx(variance, abs=1e-15)


@pytest.mark.parametrize(("steps", "t"), EVERY_STEP)
def test_the_mean_in_the_noise_is_the_mean_in_the_prior(steps: int, t: int) -> None:
    schedule, x0, noise = Schedule(steps), drawn(2, 3), drawn(2, 3, seed=1)
    x_t = schedule.noised(x0, noise, t)
    torch.testing.assert_close(schedule.mean_by_noise(x_t, noise, t), schedule.posterior_mean(x_t, x0, t))
    beta, alpha_bar = beta_by_hand(steps)[t - 1], alpha_bar_by_hand(steps)[t]
    by_hand = (x_t - beta / math.sqrt(1 - alpha_bar) * noise) / math.sqrt(1 - beta)
    torch.testing.assert_close(schedule.mean_by_noise(x_t, noise, t), by_hand)


@pytest.mark.parametrize("steps", STEPS)
def test_the_last_step_back_is_certain_but_not_as_printed(steps: int) -> None:
    schedule = Schedule(steps)
    assert schedule.posterior_variance(1) == 0
    for t, beta in enumerate(beta_by_hand(steps), start=1):
        assert schedule.printed_variance(t) == pytest.approx(beta)
        assert schedule.printed_variance(t) > schedule.posterior_variance(t)


def test_complex_coefficients_are_treated_like_real_numbers() -> None:
    schedule = Schedule(4)
    z, w = torch.complex(drawn(5), drawn(5, seed=1)), torch.complex(drawn(5, seed=2), drawn(5, seed=3))
    for step in (schedule.noised, schedule.posterior_mean, schedule.mean_by_noise):
        torch.testing.assert_close(
            step(z, w, 3), torch.complex(step(z.real, w.real, 3), step(z.imag, w.imag, 3))
        )


def test_a_schedule_is_nothing_to_train_or_save() -> None:
    assert not Schedule(4).state_dict()
    assert not list(Schedule(4).parameters())


@pytest.mark.parametrize("steps", [0, -3, 2.5, True, None])
def test_less_than_one_step_is_refused(steps: Any) -> None:
    for build in (betas, Schedule):
        with pytest.raises(ConfigurationError, match=r"network\.diffusion\.steps: expected at least 1"):
            build(steps)

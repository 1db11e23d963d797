"""Learning rates by step, from an optimizer that steps and from the formula written out, and by processes."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from relit.learning_rate import scaled_rates, warmup_cosine


def rates(
    steps: int, warmup: int = 0, floor: float = 0.01, peak: float = 1.0, beyond: int = 0
) -> list[float]:
    """The rate of each step, and the one after the last."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    scheduler = warmup_cosine(optimizer, steps, warmup, floor)
    found = []
    for _ in range(steps + 1 + beyond):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_without_warmup_it_is_a_half_cosine_from_the_highest_rate() -> None:
    expected = [0.01 + 0.99 * (1 + math.cos(math.pi * step / 20)) / 2 for step in range(21)]
    assert rates(20) == pytest.approx(expected)
    assert rates(20)[0] == 1
    assert rates(20)[10] == pytest.approx((1 + 0.01) / 2)


def test_it_agrees_with_torchs_cosine_annealing() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30, eta_min=2e-6)
    for rate in rates(30, floor=0.01, peak=2e-4):
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


def test_the_rise_is_linear_and_never_begins_at_zero() -> None:
    found = rates(20, warmup=5)
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert found[5] == 1
    assert found[5:] == pytest.approx(rates(15))


@pytest.mark.parametrize("floor", [0.0, 0.01, 0.5, 1.0])
def test_it_ends_at_the_floor_and_stays_there(floor: float) -> None:
    found = rates(10, warmup=2, floor=floor, peak=3.0, beyond=4)
    assert found[10:] == pytest.approx([3.0 * floor] * 5)
    assert all(one >= other for one, other in pairwise(found[2:]))


def test_every_group_keeps_its_own_highest_rate() -> None:
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in (1.0, 0.1)]
    optimizer = torch.optim.SGD(groups)
    scheduler = warmup_cosine(optimizer, 10, warmup=3)
    for expected in rates(10, warmup=3):
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([expected, 0.1 * expected])
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (3, 3), (3, 10)])
def test_stages_as_short_as_their_warmup_only_rise(steps: int, warmup: int) -> None:
    found = rates(steps, warmup)[:steps]
    assert found == pytest.approx([(step + 1) / warmup if warmup else 1 for step in range(steps)])


def test_it_resumes_where_it_stopped() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = warmup_cosine(optimizer, 12, warmup=3)
    for _ in range(7):
        optimizer.step()
        scheduler.step()
    resumed = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    again = warmup_cosine(resumed, 12, warmup=3)
    resumed.load_state_dict(optimizer.state_dict())
    again.load_state_dict(scheduler.state_dict())
    resumed.step()
    again.step()
    assert resumed.param_groups[0]["lr"] == pytest.approx(rates(12, warmup=3)[8])


@pytest.mark.parametrize(("rule", "factor"), [("none", 1), ("linear", 4), ("sqrt", 2)])
def test_rates_of_a_stage_grow_with_its_processes_and_nothing_else_does(rule: str, factor: float) -> None:
    settings: dict[str, Any] = {
        "_target_": "a.Stage",
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 2e-4, "betas": [0.9, 0.99], "eps": 1e-8},
        "scheduler": {"warmup": 50},
        "discriminator_lr": 1e-4,
        "lr": None,
    }
    expected = {
        **settings,
        "optimizer": {**settings["optimizer"], "lr": pytest.approx(2e-4 * factor)},
        "discriminator_lr": pytest.approx(1e-4 * factor),
    }
    assert scaled_rates(settings, rule, 4) == expected
    assert scaled_rates(settings, rule, 1) == settings

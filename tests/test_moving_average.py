"""The average of the weights: recomputed by hand, validated, handed over, and the same after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from watched_line import Named, WatchedLine, assert_same, fit

from relit.errors import ConfigurationError
from relit.moving_average import AverageRule, MovingAverage


def averaged(module: WatchedLine, steps: list[int], decay: float) -> Named:
    """The average by hand over the weights after ``steps``, in double precision."""
    average = {name: tensor.double() for name, tensor in module.weights[steps[0]].items()}
    for step in steps[1:]:
        for name, tensor in module.weights[step].items():
            average[name] = decay * average[name] + (1 - decay) * tensor.double()
    return average


def assert_near(found: Named, expected: Named) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name].double(), tensor, rtol=1e-6, atol=1e-6)


def trained(decay: float, steps: int, every: int = 1, **options: Any) -> WatchedLine:
    module = WatchedLine()
    fit(module, [MovingAverage(AverageRule(decay, every))], steps, **options)
    return module


@pytest.mark.parametrize(
    ("every", "steps"),
    [(1, list(range(1, 26))), (4, [4, 8, 12, 16, 20, 24]), (25, [25])],
)
def test_handover_is_the_average_of_the_weights_after_each_due_step(every: int, steps: list[int]) -> None:
    module = trained(0.9, 25, every)
    assert_near(module.copied_weights(), averaged(module, steps, 0.9))
    if every < 25:
        assert not torch.equal(module.line.weight, module.weights[25]["weight"])


def test_training_does_not_notice() -> None:
    module, plain = trained(0.9, 25, validate_every=5), WatchedLine()
    fit(plain, [], steps=25, validate_every=5)
    for step in range(1, 26):
        assert_same(module.weights[step], plain.weights[step])


def test_the_average_is_what_is_validated() -> None:
    module = trained(0.9, 25, validate_every=5)
    assert sorted(module.validated) == [5, 10, 15, 20, 25]
    for step, weights in module.validated.items():
        assert_near(weights, averaged(module, list(range(1, step + 1)), 0.9))


def test_before_the_first_update_the_trained_weights_stand() -> None:
    module = trained(0.9, 25, every=30, validate_every=5)
    for step, weights in module.validated.items():
        assert_same(weights, module.weights[step])
    assert_same(module.copied_weights(), module.weights[25])


def test_a_step_of_several_batches_counts_once() -> None:
    module = trained(0.9, 10, accumulate_grad_batches=3)
    # noted after every batch, so what stays noted for a step are its weights
    assert_near(module.copied_weights(), averaged(module, list(range(1, 11)), 0.9))


def test_buffers_stay_the_trained_module_s() -> None:
    module = trained(0.9, 25, validate_every=5)
    assert int(module.count) == 25  # whole numbers have no average
    assert torch.equal(module.text, torch.ones(2, 3))  # was empty when the average was set up


def test_what_the_module_holds_besides_parameters_is_not_copied() -> None:
    class Tower(nn.Linear):
        def __deepcopy__(self, memo: dict[int, Any]) -> Tower:
            raise AssertionError("the frozen tower was copied")

    module = WatchedLine()
    object.__setattr__(module, "clip", Tower(4, 4))
    fit(module, [MovingAverage(AverageRule(0.9))], steps=3, validate_every=2)
    assert_near(module.copied_weights(), averaged(module, [1, 2, 3], 0.9))


@pytest.mark.parametrize(("every", "step"), [(1, 17), (1, 20), (4, 18), (30, 20)])
def test_resumed_run_ends_with_the_same_average(tmp_path: Path, every: int, step: int) -> None:
    whole = trained(0.9, 33, every, validate_every=5, folder=tmp_path, checkpoint_every=step)
    resumed = trained(0.9, 33, every, validate_every=5, resume=tmp_path / "last.ckpt")
    assert min(resumed.weights) == step + 1
    assert_same(resumed.copied_weights(), whole.copied_weights())
    for validated, weights in resumed.validated.items():
        assert_same(weights, whole.validated[validated])


def test_run_killed_after_its_last_step_still_ends_with_the_average(tmp_path: Path) -> None:
    whole = trained(0.9, 20, folder=tmp_path, checkpoint_every=20)
    resumed = trained(0.9, 20, resume=tmp_path / "last.ckpt")
    assert not resumed.weights
    assert_same(resumed.copied_weights(), whole.copied_weights())


@pytest.mark.parametrize("validate_every", [None, 10])
def test_checkpoint_holds_trained_weights_and_average(tmp_path: Path, validate_every: int | None) -> None:
    module = trained(0.9, 15, folder=tmp_path, checkpoint_every=10, validate_every=validate_every)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    stored = {name: checkpoint["state_dict"][f"line.{name}"] for name in ("weight", "bias")}
    assert_same(stored, module.weights[10])
    weight, bias = checkpoint["moving_average"]["average"]
    assert_near({"weight": weight, "bias": bias}, averaged(module, list(range(1, 11)), 0.9))


@pytest.mark.parametrize("decay", [0.0, 1.0, 1.5, -0.1])
def test_decay_outside_its_range_is_refused(decay: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"ema\.decay={decay}"):
        AverageRule(decay)


def test_updates_need_a_step() -> None:
    with pytest.raises(ConfigurationError, match=r"ema\.every=0"):
        AverageRule(0.9, every=0)

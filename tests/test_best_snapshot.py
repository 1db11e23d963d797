"""The stage ends with the weights of its best step, not its last, and so does a resumed one."""

from __future__ import annotations

import copy
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor
from torch.utils.data import default_collate
from toy_regression import Points
from watched_line import Named, WatchedLine, assert_same, fit, validation_error

from relit.best_snapshot import BestRule, BestSnapshot
from relit.errors import ConfigurationError
from relit.moving_average import AverageRule, MovingAverage

VALIDATE_EVERY = 10
ERROR = BestRule("val/error", "min")


def trained(
    rule: BestRule, steps: int, *others: Callback, **options: Any
) -> tuple[WatchedLine, BestSnapshot]:
    """A line whose targets turn away at step 65, and what watched it."""
    module, best = WatchedLine(away_from=65), BestSnapshot("line", rule)
    fit(module, [best, *others], steps, **options)
    return module, best


def error_of(module: WatchedLine, weights: Named) -> float:
    line = copy.deepcopy(module.line)
    line.load_state_dict(weights)
    batch = default_collate([Points(1)[position] for position in range(8)])
    with torch.no_grad():
        return float(validation_error(line, batch))


# --- the rule ---


@pytest.mark.parametrize("mode", ["min", "max"])
def test_only_strictly_better_numbers_improve(mode: str) -> None:
    rule = BestRule("loss", mode)  # type: ignore[arg-type]
    better, worse = (1.0, 2.0) if mode == "min" else (2.0, 1.0)
    assert rule.improves(better, worse)
    assert not rule.improves(worse, better)
    assert not rule.improves(better, better)
    assert not rule.improves(math.nan, rule.worst)
    assert rule.improves(-1e30, rule.worst)
    assert rule.improves(1e30, rule.worst)


def test_other_modes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"best\.mode=least: must be min or max"):
        BestRule("loss", "least")  # type: ignore[arg-type]


# --- which weights ---


def test_loss_chooses_the_window_of_the_least_mean() -> None:
    module, best = trained(BestRule("loss", "min"), steps=130)
    means = {
        end: float(torch.stack([module.seen_losses[step] for step in range(end - 29, end + 1)]).mean())
        for end in (30, 60, 90, 120)
    }
    assert min(means, key=lambda end: means[end]) == 60
    assert best.step == 60
    assert best.value == pytest.approx(means[60], rel=1e-6)
    assert_same(module.copied_weights(), module.weights[60])


def test_greatest_loss_with_mode_max() -> None:
    module, best = trained(BestRule("loss", "max"), steps=130)
    assert best.step == 90
    assert_same(module.copied_weights(), module.weights[90])


@pytest.mark.parametrize("mode", ["min", "max"])
def test_validation_metric_chooses_the_weights_it_was_measured_on(mode: str) -> None:
    rule = BestRule("val/error", mode)  # type: ignore[arg-type]
    module, best = trained(rule, steps=100, validate_every=VALIDATE_EVERY)
    errors = {step: error_of(module, module.weights[step]) for step in range(10, 101, 10)}
    expected = (min if mode == "min" else max)(errors, key=lambda step: errors[step])
    assert mode == "max" or expected not in (10, 100)
    assert best.step == expected
    assert best.value == pytest.approx(errors[expected], rel=1e-6)
    assert_same(module.copied_weights(), module.weights[expected])


def test_with_a_moving_average_the_validated_average_is_kept() -> None:
    average = MovingAverage(AverageRule(0.8))
    module, best = trained(ERROR, 100, average, validate_every=VALIDATE_EVERY)
    errors = {step: error_of(module, weights) for step, weights in module.validated.items()}
    expected = min(errors, key=lambda step: errors[step])
    assert best.step == expected < 100
    assert best.value == pytest.approx(errors[expected], rel=1e-6)
    assert_same(module.copied_weights(), module.validated[expected])
    assert not torch.equal(module.line.weight, module.weights[expected]["weight"])


def test_a_metric_that_is_nan_is_never_best() -> None:
    class Blind(WatchedLine):
        def validation_step(self, batch: Named) -> None:
            self.log("val/error", torch.tensor(math.nan if self.global_step != 20 else 5.0), batch_size=8)

    module, best = Blind(), BestSnapshot("line", ERROR)
    fit(module, [best], steps=40, validate_every=VALIDATE_EVERY)
    assert (best.step, best.value) == (20, 5.0)
    assert_same(module.copied_weights(), module.weights[20])


def test_the_first_of_equal_values_stays() -> None:
    class Constant(WatchedLine):
        def validation_step(self, batch: Named) -> None:
            self.log("val/error", torch.tensor(1.0), batch_size=8)

    module, best = Constant(), BestSnapshot("line", ERROR)
    fit(module, [best], steps=40, validate_every=VALIDATE_EVERY)
    assert best.step == 10
    assert_same(module.copied_weights(), module.weights[10])


# --- what is said ---


def test_end_of_the_stage_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "relit.best_snapshot"):
        _, best = trained(BestRule("loss", "min"), steps=130)
    said = [record.getMessage() for record in caplog.records if record.name == "relit.best_snapshot"]
    assert said == [f"Stage line ends with the weights of step 60 of 130: loss {best.value:.6g}"]


@pytest.mark.parametrize("rule", [BestRule("loss", "min"), ERROR])
def test_a_stage_too_short_to_judge_keeps_its_last_weights_and_says_so(rule: BestRule) -> None:
    with pytest.warns(UserWarning, match=rf"stage\.line\.best: {rule.monitor} never had a value .* 29 steps"):
        module, _ = trained(rule, steps=29)
    assert_same(module.copied_weights(), module.weights[29])


def test_unknown_monitor_is_named_with_those_known() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        trained(BestRule("val/psnr", "max"), steps=100, validate_every=VALIDATE_EVERY)
    message = str(refusal.value)
    assert message == "stage.line.best.monitor=val/psnr: no such metric. Known: loss, val/error."


# --- resuming ---


@pytest.mark.parametrize("step", [55, 60, 80])  # before, at and after the best of the windows
@pytest.mark.parametrize("rule", [BestRule("loss", "min"), ERROR])
def test_resumed_run_ends_with_the_same_weights(tmp_path: Path, rule: BestRule, step: int) -> None:
    others = {"validate_every": VALIDATE_EVERY}
    whole, best = trained(rule, 100, folder=tmp_path, checkpoint_every=step, **others)
    checkpoint = tmp_path / "last.ckpt"
    resumed, again = trained(rule, 100, resume=checkpoint, **others)
    assert min(resumed.weights) == step + 1
    assert (again.step, again.value) == (best.step, best.value)
    assert_same(resumed.copied_weights(), whole.copied_weights())


def test_run_killed_after_its_last_step_still_ends_with_the_best_weights(tmp_path: Path) -> None:
    options = {"validate_every": VALIDATE_EVERY}
    average = AverageRule(0.8)
    whole, _ = trained(ERROR, 100, MovingAverage(average), folder=tmp_path, checkpoint_every=100, **options)
    resumed, _ = trained(ERROR, 100, MovingAverage(average), resume=tmp_path / "last.ckpt", **options)
    assert not resumed.weights
    assert_same(resumed.copied_weights(), whole.copied_weights())


def test_checkpoint_holds_the_snapshot_in_plain_containers(tmp_path: Path) -> None:
    module, best = trained(BestRule("loss", "min"), 75, folder=tmp_path, checkpoint_every=75)
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)["best_snapshot"]
    assert (stored["value"], stored["step"]) == (best.value, 60)
    assert_same({k.removeprefix("line."): v for k, v in line_of(stored["weights"])}, module.weights[60])
    assert torch.equal(stored["window"], torch.stack([module.seen_losses[step] for step in range(61, 76)]))


def line_of(weights: Named) -> list[tuple[str, Tensor]]:
    return [(name, tensor) for name, tensor in weights.items() if name.startswith("line.")]

"""A network that begins dead is drawn anew, so often and no oftener, by all ranks and after a kill alike."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from toy_regression import Points
from watched_line import Named, WatchedLine, assert_same, fit

from relit.best_snapshot import BestRule, BestSnapshot
from relit.dead_start import DeadStart, RestartRule
from relit.errors import ConfigurationError
from relit.moving_average import AverageRule, MovingAverage

RULE = RestartRule(below=8.0, after=40, at_most=3)
"""Judged from step 41 on, so a network dead from the start is drawn anew at step 41, 82, 123."""


class MortalLine(WatchedLine):
    """A line that is dead until it was drawn anew ``cures`` times.

    Args:
        cures: restarts that it needs.
        dead: its PSNR in dB until then; 20 afterwards.
        late: steps from the beginning, or from a restart, on which it is alive all the same.

    Attributes:
        restarts: (step, attempt) of each restart.
        moments: step -> Adam's step counts.
    """

    def __init__(self, cures: int, dead: float = 5.0, late: int = 0) -> None:
        super().__init__()
        self.dead, self.late = dead, late
        self.register_buffer("left", torch.tensor(cures))
        self.register_buffer("age", torch.tensor(0))
        self.restarts: list[tuple[int, int]] = []
        self.moments: dict[int, list[float]] = {}

    def restart(self, attempt: int) -> None:
        super().restart(attempt)
        if attempt:
            self.restarts.append((self.global_step, attempt))
            self.left -= 1
            self.age.zero_()

    def training_step(self, batch: Named) -> Any:
        self.age += 1
        alive = int(self.left) <= 0 or int(self.age) <= self.late
        return {"loss": super().training_step(batch), "psnr": torch.tensor(20.0 if alive else self.dead)}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(outputs, batch, batch_idx)
        (optimizer,) = self.trainer.optimizers
        self.moments[self.global_step] = [float(state["step"]) for state in optimizer.state.values()]


def trained(module: MortalLine, rule: RestartRule = RULE, steps: int = 130, **options: Any) -> MortalLine:
    fit(module, [DeadStart("line", rule)], steps, **options)
    return module


# --- when ---


def test_a_living_network_is_left_alone() -> None:
    module = trained(MortalLine(cures=0))
    assert module.restarts == []


def test_a_dead_network_is_drawn_anew_until_it_lives() -> None:
    module = trained(MortalLine(cures=2))
    assert module.restarts == [(41, 1), (82, 2)]
    assert len(module.weights) == 130  # the stage goes on, and is not prolonged


@pytest.mark.parametrize(("after", "step"), [(0, 30), (29, 30), (30, 31), (100, 101)])
def test_judged_once_more_than_after_steps_are_done_and_the_window_is_full(after: int, step: int) -> None:
    module = trained(MortalLine(cures=1), RestartRule(after=after, at_most=1), steps=110)
    assert module.restarts == [(step, 1)]


def test_the_mean_of_the_last_thirty_steps_decides() -> None:
    # alive for 50 steps, then dead: with n dead ones the mean, (20 (30 - n) + 5 n) / 30, is below 8 if n > 24
    module = trained(MortalLine(cures=1, late=50))
    assert module.restarts == [(75, 1)]


def test_as_far_as_the_threshold_is_alive() -> None:
    assert trained(MortalLine(cures=1, dead=8.0)).restarts == []


def test_the_rule_of_the_release_is_the_default() -> None:
    assert RestartRule(at_most=1) == RestartRule(below=8.0, after=100, at_most=1)


@pytest.mark.parametrize("key", ["after", "at_most"])
def test_negative_counts_are_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"restart\.{key}=-1"):
        RestartRule(**{"at_most": 1, key: -1})


# --- what ---


def test_a_restart_begins_with_new_weights_and_an_empty_optimizer(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "relit.dead_start"):
        module = trained(MortalLine(cures=1))
    fresh = MortalLine(cures=0)
    fresh.restart(1)
    assert_same(module.weights[41], fresh.copied_weights())
    assert module.moments[40] == [40.0, 40.0]
    assert module.moments[41] == []
    assert module.moments[42] == [1.0, 1.0]
    said = [record.getMessage() for record in caplog.records if record.name == "relit.dead_start"]
    assert said == [
        "Stage line: dead start at step 41 (mean PSNR of result to input over the last 30 steps 5.00 dB, "
        "below 8). The network is drawn anew, restart 1 of at most 3."
    ]


def test_after_a_restart_training_equals_one_begun_with_those_weights() -> None:
    """Nothing of the dead network is left: the same batches from the same weights give the same steps."""
    module = trained(MortalLine(cures=1), steps=60)
    weights = {name: tensor.clone() for name, tensor in module.weights[41].items()}
    line = WatchedLine().line
    line.load_state_dict(weights)
    optimizer = torch.optim.Adam(line.parameters(), lr=0.05)
    for step in range(42, 61):
        points = torch.utils.data.default_collate(
            [Points(0)[position] for position in range((step - 1) * 4, step * 4)]
        )
        optimizer.zero_grad()
        (line(points["x"])[:, 0] - points["y"]).square().mean().backward()
        optimizer.step()
        assert_same(dict(line.state_dict()), module.weights[step])


def test_kept_weights_of_the_dead_network_are_forgotten() -> None:
    module = MortalLine(cures=1)
    # dead, its loss is no loss at all
    module.factors = dict.fromkeys(range(1, 42), 0.0)
    best, average = BestSnapshot("line", BestRule("loss", "min")), MovingAverage(AverageRule(0.9))
    fit(module, [best, average, DeadStart("line", RULE)], steps=110)
    assert module.restarts == [(41, 1)]
    assert best.step in (71, 101)  # windows from the restart on
    assert best.value > 0
    assert_same(module.copied_weights(), module.weights[best.step])


def test_the_average_begins_anew_with_the_network() -> None:
    module = MortalLine(cures=1)
    fit(module, [MovingAverage(AverageRule(0.9)), DeadStart("line", RULE)], steps=44)
    expected = module.weights[42]["weight"]
    for step in (43, 44):
        expected = 0.9 * expected + 0.1 * module.weights[step]["weight"]
    torch.testing.assert_close(module.line.weight.detach(), expected)


# --- enough ---


def test_dead_again_after_all_restarts_is_an_error_with_the_remedy() -> None:
    module = MortalLine(cures=9)
    with pytest.raises(ConfigurationError) as refusal:
        trained(module, RestartRule(after=40, at_most=2))
    assert module.restarts == [(41, 1), (82, 2)]
    message = str(refusal.value)
    assert message.startswith("stage.line.restart: dead at step 123 (mean PSNR")
    assert "all 2 restarts are used up" in message
    assert "network.initial_map=1.0" in message
    assert "another seed" in message


def test_a_module_that_cannot_restart_is_refused_before_training() -> None:
    class Rigid(WatchedLine):
        restart = None  # type: ignore[assignment]

        def __init__(self) -> None:
            torch.nn.Module.__init__(self)

    with pytest.raises(
        ConfigurationError, match=r"stage\.line\.restart: Rigid can't .* stage\.line\.restart=null"
    ):
        DeadStart("line", RULE).setup(None, Rigid(), "fit")  # type: ignore[arg-type]


# --- resuming, ranks ---


@pytest.mark.parametrize("step", [35, 41, 60, 82, 90])
def test_resumed_run_restarts_at_the_same_steps(tmp_path: Path, step: int) -> None:
    whole = trained(MortalLine(cures=2), folder=tmp_path, checkpoint_every=step, steps=min(130, 2 * step - 1))
    steps = len(whole.weights)
    resumed = trained(MortalLine(cures=2), resume=tmp_path / "last.ckpt", steps=steps)
    assert min(resumed.weights) == step + 1
    assert resumed.restarts == [restart for restart in whole.restarts if restart[0] > step]
    assert_same(resumed.copied_weights(), whole.copied_weights())
    assert resumed.moments[steps] == whole.moments[steps]


class DeadOnRankOne(MortalLine):
    """Until drawn anew 3 dB on the second rank and 12 on the first: dead in the mean alone."""

    def training_step(self, batch: Named) -> Any:
        outputs = super().training_step(batch)
        if self.global_rank == 0 and float(outputs["psnr"]) < 8:
            outputs["psnr"] = torch.tensor(12.0)
        return outputs


class NotesRestarts(Callback):
    """Writes when each rank was drawn anew, and with which weights it ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, MortalLine)
        noted = {"restarts": pl_module.restarts, "weights": pl_module.copied_weights()}
        torch.save(noted, self.folder / f"{trainer.global_rank}.pt")


@pytest.mark.slow
def test_ranks_decide_together_on_their_mean(tmp_path: Path) -> None:
    module = DeadOnRankOne(cures=1, dead=3.0)
    callbacks = [DeadStart("line", RULE), NotesRestarts(tmp_path)]
    fit(module, callbacks, steps=50, devices=2, strategy="ddp_spawn")
    noted = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert noted[0]["restarts"] == noted[1]["restarts"] == [(41, 1)]
    assert_same(noted[0]["weights"], noted[1]["weights"])

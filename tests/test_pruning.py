"""A run as one of many: what it reports, how it is given up, what it was last validated by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_regression import toy_config
from watched_line import WatchedLine, fit

from relit.best_snapshot import BestRule, BestSnapshot
from relit.errors import TrialPruned, TrialTakenOver
from relit.last_validation import LastValidation
from relit.pruning import Pruning
from relit.run_lock import in_use
from relit.run_state import read_state
from relit.stages import run_stages


class Judge:
    """Takes in what is reported, and gives up at a step; says at a question that the run is another's."""

    def __init__(self, at: int | None = None, taken_at: int | None = None) -> None:
        self.at, self.taken_at = at, taken_at
        self.reports: dict[int, float] = {}
        self.questions = 0

    def give_up(self, step: int, value: float) -> bool:
        self.reports[step] = value
        return step == self.at

    def taken_over(self) -> bool:
        self.questions += 1
        return self.questions == self.taken_at


def validated(run_dir: Path, **changes: Any) -> Any:
    """Two toy stages of twelve steps, validated every four."""
    settings = {"rounds": 1, "monitor": "val/error", "logger": None}
    cfg = toy_config(run_dir, **settings, **changes)
    for stage in ("first", "second"):
        cfg.stage[stage] = {**cfg.stage[stage], "validate_every": 4}
    return cfg


# --- within a stage ---


def test_reports_are_on_the_runs_step_axis_and_those_of_the_validated_weights() -> None:
    module, judge, last = WatchedLine(), Judge(), LastValidation()
    fit(module, [Pruning(judge, "val/error", 100), last], 25, validate_every=10)
    assert list(judge.reports) == [110, 120]
    assert judge.reports[110] > judge.reports[120] > 0
    assert last.figures == {"val/error": judge.reports[120]}


def test_metrics_that_a_stage_does_not_measure_are_not_reported() -> None:
    judge = Judge()
    fit(WatchedLine(), [Pruning(judge, "val/psnr", 0)], 20, validate_every=10)
    assert judge.reports == {}


def test_a_run_is_given_up_at_the_step_it_is_told() -> None:
    module = WatchedLine()
    with pytest.raises(TrialPruned, match=r"val/error is .* at step 120"):
        fit(module, [Pruning(Judge(at=120), "val/error", 100)], 50, validate_every=10)
    assert max(module.weights) == 20


def test_with_best_the_figure_is_that_of_the_weights_handed_over() -> None:
    module, last = WatchedLine(away_from=35), LastValidation()
    best = BestSnapshot("line", BestRule("val/error", "min"))
    trainer = fit(module, [last, best], 70, validate_every=10)
    assert last.of_handover(trainer)["val/error"] == best.value < last.figures["val/error"]


# --- within a run ---


def test_a_run_returns_what_it_was_last_validated_by(tmp_path: Path) -> None:
    judge = Judge()
    metrics = run_stages(validated(tmp_path / "run"), judge)
    assert list(judge.reports) == [4, 8, 12, 16, 20, 24]
    assert metrics["val/error"] == judge.reports[24]
    assert metrics["toy/distance"] > 0
    stages = read_state(tmp_path / "run").finished
    assert [stage.validated["val/error"] for stage in stages] == [judge.reports[12], judge.reports[24]]
    # finished, it trains nothing and still knows
    assert run_stages(validated(tmp_path / "run"), Judge()) == metrics


def test_a_run_that_goes_on_after_its_last_validation_knows_it(tmp_path: Path) -> None:
    # validated at 4 and 8 of 10 steps, stopped after the checkpoint of step 10
    changes = {"stage__second__steps": 10, "stage__second__module__interrupt_at": 10}
    whole = run_stages(validated(tmp_path / "whole", **changes, stage__second__module__interrupt_stage=9))
    cfg = validated(tmp_path / "run", **changes, stage__second__module__interrupt="RuntimeError")
    cfg.checkpoint_every = 9
    with pytest.raises(RuntimeError):
        run_stages(cfg)
    checkpoint = torch.load(
        tmp_path / "run" / "stages" / "2-second" / "checkpoints" / "last.ckpt", weights_only=True
    )
    assert checkpoint["global_step"] == 9
    judge = Judge()
    assert run_stages(cfg, judge)["val/error"] == pytest.approx(whole["val/error"])
    assert judge.reports == {}


def test_a_run_that_is_given_up_stops_there_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrialPruned):
        run_stages(validated(tmp_path / "run"), Judge(at=16))
    assert [stage.name for stage in read_state(tmp_path / "run").finished] == ["first"]


def test_a_run_that_was_taken_over_leaves_at_a_checkpoint_and_nothing_is_lost(tmp_path: Path) -> None:
    """There are no validations. Checkpoints are written every five of twelve steps."""
    cfg = toy_config(tmp_path / "run", rounds=0, logger=None, monitor="toy/distance")
    # asked at steps 0, 5, 10
    with pytest.raises(TrialTakenOver, match="goes on from step 10 of the stage"):
        run_stages(cfg, Judge(taken_at=3))
    assert not in_use(tmp_path / "run")
    heir = Judge()
    distance = run_stages(cfg, heir)
    assert heir.questions == 1
    seen = [json.loads(line)["step"] for line in (tmp_path / "run" / "seen-0.jsonl").read_text().splitlines()]
    assert seen == list(range(12))
    assert distance == run_stages(
        toy_config(tmp_path / "whole", rounds=0, logger=None, monitor="toy/distance")
    )

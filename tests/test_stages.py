"""The runner: order, hand-over, skipping, resuming to the last bit, refusing other settings."""

from __future__ import annotations

import csv
import json
import re
import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from toy_regression import ToyPoints, toy_config

from relit.errors import ConfigurationError
from relit.keyed import keyed_seed
from relit.plan import expand_plan
from relit.run_settings import ADDED, binding_settings
from relit.run_state import read_state
from relit.stages import run_stages
from relit.weights import Weights, read_weights


@pytest.fixture(autouse=True)
def _ctrl_c_works_again() -> Iterator[None]:
    # Lightning switches SIGINT off while it shuts down
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


def final_weights(run_dir: Path) -> Weights:
    return read_weights(run_dir / "stages" / "3-second" / "weights.safetensors")[0]


def seen(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "seen-0.jsonl").read_text().splitlines()]


def logged_steps(run_dir: Path) -> list[list[int]]:
    """Steps of ``toy/loss`` in each sitting's CSV file."""
    files = sorted((run_dir / "logs").glob("version_*/metrics.csv"))
    return [[int(row["step"]) for row in csv.DictReader(file.open()) if row["toy/loss"]] for file in files]


def assert_equal(left: Weights, right: Weights) -> None:
    assert left.keys() == right.keys()
    for name, tensors in left.items():
        assert tensors.keys() == right[name].keys()
        for key, tensor in tensors.items():
            assert torch.equal(tensor, right[name][key]), f"{name}/{key}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of an uninterrupted run."""
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    run_stages(toy_config(run_dir))
    return run_dir


# --- the plan ---


def test_plan_numbers_stages_and_rounds() -> None:
    plan = expand_plan(["a", "b", {"repeat": 2, "stages": ["c", "d"]}, "e"])
    assert [(stage.name, stage.round) for stage in plan] == [
        ("a", 0), ("b", 0), ("c", 1), ("d", 1), ("c", 2), ("d", 2), ("e", 0),
    ]  # fmt: skip
    assert [stage.index for stage in plan] == [1, 2, 3, 4, 5, 6, 7]
    assert plan[3].title == "4/7 d"
    assert plan[3].folder == "4-d"


def test_plan_without_rounds_leaves_them_out() -> None:
    assert [stage.name for stage in expand_plan(["a", {"repeat": 0, "stages": ["b"]}])] == ["a"]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (None, "experiment=quickstart"),
        ([], "experiment=quickstart"),
        ([3], r"plan\[0\]"),
        (["a", {"repeat": -1, "stages": ["b"]}], r"plan\[1\].repeat"),
        ([{"repeat": True, "stages": ["b"]}], r"plan\[0\].repeat"),
        ([{"repeat": 1, "stages": []}], r"plan\[0\].stages"),
        ([{"repeat": 1, "stage": ["b"]}], r"plan\[0\]"),
        ([{"repeat": 0, "stages": ["b"]}], "no stage to train"),
    ],
)
def test_plan_mistakes_name_their_place(plan: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        expand_plan(plan)


# --- an uninterrupted run ---


def test_run_directory_after_a_run(whole: Path) -> None:
    assert sorted(path.name for path in (whole / "stages").iterdir()) == ["1-first", "2-second", "3-second"]
    for stage in (whole / "stages").iterdir():
        assert [path.name for path in stage.iterdir()] == ["weights.safetensors"]
    state = read_state(whole)
    assert [(stage.name, stage.steps) for stage in state.finished] == [
        ("first", 12),
        ("second", 12),
        ("second", 12),
    ]
    assert state.offset == 36
    ends = [datetime.fromisoformat(str(stage.ended)) for stage in state.finished]
    assert ends == sorted(ends)
    assert abs(ends[-1].timestamp() - (whole / "state.json").stat().st_mtime) < 60
    config = OmegaConf.to_container(OmegaConf.load(whole / "config.yaml"))
    assert config["plan"][1]["repeat"] == 2  # resolved


def test_weights_accumulate_and_are_taken_up_by_the_next_stage(whole: Path) -> None:
    weights = final_weights(whole)
    assert weights.keys() == {"line", "after_1", "after_2", "after_3"}
    first, metadata = read_weights(whole / "stages" / "1-first" / "weights.safetensors")
    assert first.keys() == {"line", "after_1"}
    assert metadata == {"stage": "first", "index": 1, "round": 0, "steps": 12, "clip": {}}
    assert torch.equal(first["after_1"]["bias"], weights["after_1"]["bias"])
    biases = [float(weights[f"after_{k}"]["bias"]) for k in (1, 2, 3)]
    assert len(set(biases)) == 3


def test_each_step_sees_the_next_positions_once(whole: Path) -> None:
    for index in (1, 2, 3):
        positions = [p for entry in seen(whole) if entry["stage"] == index for p in entry["positions"]]
        assert positions == list(range(48))


def test_stages_log_on_one_step_axis(whole: Path) -> None:
    assert logged_steps(whole) == [list(range(36))]


def test_finish_gets_the_weights_and_returns_metrics(tmp_path: Path) -> None:
    metrics = run_stages(toy_config(tmp_path / "run", rounds=0))
    stored, _ = read_weights(tmp_path / "run" / "stages" / "1-first" / "weights.safetensors")
    expected = float((stored["line"]["weight"] - 1).abs().max())
    assert metrics == {"toy/distance": expected}
    rows = list(csv.DictReader((tmp_path / "run" / "logs" / "version_0" / "metrics.csv").open()))
    assert float(rows[-1]["toy/distance"]) == pytest.approx(expected)
    assert int(rows[-1]["step"]) == 12


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(whole: Path, tmp_path: Path) -> None:
    run_stages(toy_config(tmp_path / "same"))
    assert_equal(final_weights(tmp_path / "same"), final_weights(whole))
    run_stages(toy_config(tmp_path / "other", seed=1))
    assert not torch.equal(
        final_weights(tmp_path / "other")["line"]["weight"], final_weights(whole)["line"]["weight"]
    )


# --- evaluating without training ---


def files(run_dir: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(run_dir)): path.read_bytes()
        for path in run_dir.rglob("*")
        if path.is_file() and path.name != "metrics.json" and "logs" not in path.parts
    }


def test_a_finished_run_is_evaluated_again_and_left_as_it_is(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    metrics = run_stages(toy_config(run_dir))
    before = files(run_dir)
    (run_dir / "metrics.json").unlink()
    assert run_stages(toy_config(run_dir, train=False)) == metrics
    assert json.loads((run_dir / "metrics.json").read_text())["distance"] == metrics["toy/distance"]
    assert files(run_dir) == before


def test_the_weights_that_start_names_are_evaluated_without_a_stage(whole: Path, tmp_path: Path) -> None:
    start = str(whole / "stages" / "1-first" / "weights.safetensors")
    stored, _ = read_weights(start)
    metrics = run_stages(toy_config(tmp_path / "run", train=False, start=start))
    assert metrics == {"toy/distance": float((stored["line"]["weight"] - 1).abs().max())}
    assert not (tmp_path / "run" / "stages").exists()
    # a copied run directory without its stages
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "weights.safetensors").write_bytes(Path(start).read_bytes())
    assert run_stages(toy_config(tmp_path / "copy", train=False)) == metrics


def test_what_cannot_be_evaluated_without_training_is_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no finished run"):
        run_stages(toy_config(tmp_path / "nothing", train=False))
    run_dir = tmp_path / "part"
    run_stages(toy_config(run_dir))
    state = json.loads((run_dir / "state.json").read_text())
    state["finished"].pop()
    (run_dir / "state.json").write_text(json.dumps(state))
    with pytest.raises(ConfigurationError, match="is not finished"):
        run_stages(toy_config(run_dir, train=False))
    with pytest.raises(ConfigurationError, match="other settings"):
        run_stages(toy_config(whole, train=False, seed=1))


# --- resuming ---


def test_finished_stages_are_skipped(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    cfg = toy_config(run_dir)
    first = run_stages(cfg)
    trained = len(seen(run_dir))
    files = {path: path.stat().st_mtime_ns for path in run_dir.rglob("weights.safetensors")}
    assert run_stages(cfg) == first
    assert len(seen(run_dir)) == trained
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("weights.safetensors")} == files


@pytest.mark.parametrize(
    ("interrupt", "step", "kept"),
    [
        *(("RuntimeError", step, step // 5 * 5) for step in (3, 5, 8)),
        ("KeyboardInterrupt", 8, 5),
        # after a signal the step that is begun is finished, and a checkpoint written
        *(("SIGTERM", step, step + 1) for step in (3, 4, 8)),
        ("SIGUSR1", 8, 9),
    ],
)
def test_interrupted_run_goes_on_to_the_same_bits(
    whole: Path, tmp_path: Path, interrupt: str, step: int, kept: int
) -> None:
    run_dir = tmp_path / "run"
    cfg = toy_config(
        run_dir, stage__second__module__interrupt=interrupt, stage__second__module__interrupt_at=step
    )
    with pytest.raises((SystemExit, KeyboardInterrupt, RuntimeError)):
        run_stages(cfg)
    assert [stage.name for stage in read_state(run_dir).finished] == ["first"]
    before = len(seen(run_dir))
    run_stages(cfg)
    assert_equal(final_weights(run_dir), final_weights(whole))
    resumed = seen(run_dir)[before:]
    assert (resumed[0]["stage"], resumed[0]["step"]) == (2, kept)
    assert resumed[0]["positions"][0] == resumed[0]["step"] * 4
    if interrupt.startswith("SIG"):
        first, second = logged_steps(run_dir)
        assert first + second == list(range(36))


def test_a_killed_stage_logs_on_the_run_axis_again(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    cfg = toy_config(run_dir, stage__second__module__interrupt_at=8)
    with pytest.raises(SystemExit):
        run_stages(cfg)
    run_stages(cfg)
    before, after = logged_steps(run_dir)
    assert before == list(range(len(before)))
    assert after == list(range(12 + 5, 36))


def test_no_checkpoint_of_a_stage_holds_code_or_config_objects(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    cfg = toy_config(run_dir, stage__second__module__interrupt_at=8)
    with pytest.raises(SystemExit):
        run_stages(cfg)
    checkpoints = list(run_dir.rglob("*.ckpt"))
    assert [path.name for path in checkpoints] == ["last.ckpt"]
    checkpoint = torch.load(checkpoints[0], weights_only=True)
    assert checkpoint["global_step"] == 5
    assert set(checkpoint["state_dict"]) == {"line.weight", "line.bias"}


def test_data_workers_do_not_change_the_result(whole: Path, tmp_path: Path) -> None:
    run_stages(toy_config(tmp_path / "run", data__num_workers=1))
    assert_equal(final_weights(tmp_path / "run"), final_weights(whole))


# --- settings ---


def test_other_settings_are_refused_with_their_keys(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_stages(toy_config(run_dir, rounds=0))
    with pytest.raises(ConfigurationError) as refusal:
        run_stages(toy_config(run_dir, rounds=0, seed=3, stage__first__steps=13))
    message = str(refusal.value)
    assert "seed: 0 in the run, 3 now" in message
    assert "stage.first.steps: 12 in the run, 13 now" in message
    assert re.search(r"name=other.*fresh=true", message, re.DOTALL)
    assert "batch_size" not in message


def test_settings_that_do_not_change_the_result_may_differ(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_stages(toy_config(run_dir, rounds=0))
    changed = toy_config(
        run_dir, rounds=0, logger=None, checkpoint_every=7, progress=True, data__num_workers=1, name="renamed"
    )
    run_stages(changed)


def test_binding_settings_keep_what_is_learned() -> None:
    config = {
        "seed": 1,
        "logger": {"mode": "x"},
        "stage": {"a": {"steps": 2, "data": {"num_workers": 3, "size": 8}}},
    }
    assert binding_settings(config) == {**ADDED, "seed": 1, "stage.a.steps": 2, "stage.a.data.size": 8}


def test_fresh_starts_anew(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_stages(toy_config(run_dir, rounds=0))
    old = read_state(run_dir)
    (run_dir / "notes.txt").write_text("mine")
    run_stages(toy_config(run_dir, rounds=0, fresh=True, seed=5))
    new = read_state(run_dir)
    assert new.settings["seed"] == 5
    assert new.run_id != old.run_id
    assert (run_dir / "notes.txt").exists()
    assert sorted(path.name for path in (run_dir / "logs").iterdir()) == ["version_0", "version_1"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', '{"format": 1}'])
def test_damaged_state_is_named(tmp_path: Path, text: str) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "state.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"state\.json: .*fresh=true"):
        run_stages(toy_config(run_dir))


# --- extension ---


def extended(run_dir: Path, above: float, **changes: Any) -> int:
    cfg = toy_config(
        run_dir, plan=["first"], stage__first__extend={"above": above, "by": 4, "at_most": 3}, **changes
    )
    run_stages(cfg)
    return read_state(run_dir).finished[0].steps


def test_extension_is_bounded(tmp_path: Path) -> None:
    assert extended(tmp_path / "always", above=-1.0) == 12 + 3 * 4


def test_no_extension_below_the_threshold(tmp_path: Path) -> None:
    assert extended(tmp_path / "never", above=1e9) == 12


def test_extension_ends_when_the_mean_loss_falls_below_the_threshold(tmp_path: Path) -> None:
    run_stages(toy_config(tmp_path / "long", plan=["first"], stage__first__steps=24))
    rows = csv.DictReader((tmp_path / "long" / "logs" / "version_0" / "metrics.csv").open())
    losses = [float(row["toy/loss"]) for row in rows if row["toy/loss"]]
    mean = {end: sum(losses[:end][-30:]) / min(end, 30) for end in (12, 16, 20)}
    assert mean[12] > mean[16] > mean[20]
    assert extended(tmp_path / "run", above=(mean[12] + mean[16]) / 2) == 16


@pytest.mark.parametrize("step", [8, 12, 14, 22])
def test_extension_survives_resuming(tmp_path: Path, step: int) -> None:
    extended(tmp_path / "whole", above=-1.0)
    run_dir = tmp_path / "run"
    changes = {"stage__first__module__interrupt_at": step, "stage__first__module__interrupt_stage": 1}
    with pytest.raises(SystemExit):
        extended(run_dir, above=-1.0, checkpoint_every=2, **changes)
    assert extended(run_dir, above=-1.0, checkpoint_every=2, **changes) == 24
    name = "stages/1-first/weights.safetensors"
    assert_equal(read_weights(run_dir / name)[0], read_weights(tmp_path / "whole" / name)[0])


# --- what stages share ---


def test_stages_with_equal_data_settings_share_one_data_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []
    original = ToyPoints.__init__

    def counting(self: ToyPoints, *args: Any, **kwargs: Any) -> None:
        built.append(kwargs["batch_size"])
        original(self, *args, **kwargs)

    monkeypatch.setattr(ToyPoints, "__init__", counting)
    run_stages(toy_config(tmp_path / "run", stage__first__data={"batch_size": 2}))
    assert built == [2, 4]


def test_stage_seed_depends_on_run_seed_place_and_name() -> None:
    seeds = {keyed_seed(seed, index, name) for seed in (0, 1) for index in (1, 2) for name in ("a", "b")}
    assert len(seeds) == 8


def test_configuration_error_inside_a_constructor_comes_out_as_itself(tmp_path: Path) -> None:
    cfg = toy_config(tmp_path / "run", clip={"prompts": {"_target_": "toy_regression.refuse"}})
    with pytest.raises(ConfigurationError, match=r"clip\.pretrained: no such file"):
        run_stages(cfg)


def test_settings_that_older_runs_lack_are_taken_for_what_they_are_by_default() -> None:
    conf = Path(__file__).resolve().parents[1] / "conf"
    files = [OmegaConf.load(conf / name) for name in ("train.yaml", "experiment/clip_lit.yaml")]
    for key, value in ADDED.items():
        defaults = [found for found in (OmegaConf.select(file, key) for file in files) if found is not None]
        assert defaults == [value], key

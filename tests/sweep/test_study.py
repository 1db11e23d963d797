"""A study in a database: several workers, dead ones, other settings."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

optuna = pytest.importorskip("optuna")

import sqlalchemy  # noqa: E402
from optuna.distributions import CategoricalDistribution, FloatDistribution  # noqa: E402
from optuna.trial import TrialState  # noqa: E402

from relit.errors import ConfigurationError  # noqa: E402
from relit.sweep.liveness import recover, signs_of_life  # noqa: E402
from relit.sweep.storage import has_password, open_storage, shown  # noqa: E402
from relit.sweep.study import (  # noqa: E402
    Standing,
    agree_on,
    ask,
    check_ranges,
    last_trials,
    open_study,
    run_again,
    run_of,
    standing,
)


def opened(folder: Path, direction: str = "maximize", reruns: int = 2) -> tuple[Any, Any]:
    """A worker's view of the study, and its storage."""
    return open_study(
        "study",
        f"sqlite:///{folder}/below/study.db",
        direction,
        optuna.samplers.RandomSampler(seed=0),
        optuna.pruners.NopPruner(),
        heartbeat=30,
        grace=90,
        reruns=reruns,
    )


def aged(storage: Any, trial: Any) -> None:
    """As if an hour had passed since the trial's last sign of life."""
    with storage.engine.begin() as connection:
        connection.execute(
            sqlalchemy.text(
                "UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, '-1 hour') WHERE trial_id = :id"
            ),
            {"id": trial._trial_id},
        )


def begun(study: Any, storage: Any, alive: bool = True) -> Any:
    """A trial at work; ``alive`` or with its last sign of life an hour ago."""
    trial = ask(study)
    with signs_of_life(storage, trial._trial_id):
        trial.suggest_float("lr", 0, 1)
    if not alive:
        aged(storage, trial)
    return trial


def test_two_workers_see_one_study(tmp_path: Path) -> None:
    (first, first_storage), (second, second_storage) = opened(tmp_path), opened(tmp_path)
    one, other = begun(first, first_storage), begun(second, second_storage)
    assert {one.number, other.number} == {0, 1}
    first.tell(one, 0.25)
    assert standing(second) == Standing(waiting=0, running=1, complete=1, pruned=0, failed=0)
    assert second.best_params == {"lr": one.params["lr"]}


def test_the_run_of_a_dead_worker_is_taken_over_with_its_values(tmp_path: Path) -> None:
    study, storage = opened(tmp_path)
    lives, dies = begun(study, storage), begun(study, storage, alive=False)
    dies.report(0.5, step=7)
    recover(study, storage)
    assert standing(study) == Standing(waiting=1, running=1, complete=0, pruned=0, failed=0)
    other, _ = opened(tmp_path)
    taken = ask(other)
    assert run_of(taken) == dies.number
    assert taken.number not in (lives.number, dies.number)
    assert taken.suggest_float("lr", 0, 1) == dies.params["lr"]
    assert storage.get_trial(taken._trial_id).intermediate_values == {7: 0.5}
    other.tell(taken, 1.0)
    assert standing(study) == Standing(waiting=0, running=1, complete=1, pruned=0, failed=0)
    assert last_trials(study)[dies.number].value == 1.0


def test_a_worker_that_died_before_its_first_sign_of_life_is_found_dead(tmp_path: Path) -> None:
    study, storage = opened(tmp_path)
    dies = ask(study)
    recover(study, storage)
    # it may be about to give its first one
    assert standing(study) == Standing(waiting=0, running=1, complete=0, pruned=0, failed=0)
    aged(storage, dies)
    recover(study, storage)
    assert standing(study) == Standing(waiting=1, running=0, complete=0, pruned=0, failed=0)
    assert run_of(ask(study)) == dies.number


def test_a_trial_that_gives_its_first_sign_of_life_late_lives(tmp_path: Path) -> None:
    study, storage = opened(tmp_path)
    lives = ask(study)
    recover(study, storage)
    aged(storage, lives)
    with signs_of_life(storage, lives._trial_id):
        pass
    recover(study, storage)
    assert standing(study) == Standing(waiting=0, running=1, complete=0, pruned=0, failed=0)


def test_a_run_whose_workers_keep_dying_is_given_up(tmp_path: Path) -> None:
    study, storage = opened(tmp_path, reruns=2)
    for death in range(3):
        trial = begun(study, storage, alive=False)
        assert run_of(trial) == 0, death
        recover(study, storage)
    assert standing(study) == Standing(waiting=0, running=0, complete=0, pruned=0, failed=1)


def test_interruptions_are_no_deaths(tmp_path: Path) -> None:
    study, storage = opened(tmp_path, reruns=0)
    for _ in range(3):
        trial = begun(study, storage)
        study.tell(trial, state=TrialState.FAIL)
        run_again(study, study.get_trials()[trial.number])
        assert run_of(trial) == 0
    assert standing(study) == Standing(waiting=1, running=0, complete=0, pruned=0, failed=0)


def test_others_settings_are_refused_by_name(tmp_path: Path) -> None:
    study, _ = opened(tmp_path)
    agree_on(study, {"seed": 0, "data.backlit": "a"})
    other, _ = opened(tmp_path)
    agree_on(other, {"data.backlit": "a", "seed": 0})
    with pytest.raises(ConfigurationError) as found:
        agree_on(other, {"seed": 1, "rounds": 2})
    said = str(found.value)
    assert "seed: 0 in the study, 1 now" in said
    assert "rounds: '(absent)' in the study, 2 now" in said
    assert "data.backlit: 'a' in the study, '(absent)' now" in said
    assert "name=OTHER" in said


def test_bounds_may_move_but_choices_and_directions_may_not(tmp_path: Path) -> None:
    study, storage = opened(tmp_path)
    trial = begun(study, storage)
    trial.suggest_categorical("kind", ("a", "b"))
    check_ranges(study, {"lr": FloatDistribution(0.1, 5), "kind": CategoricalDistribution(("a", "b"))})
    with pytest.raises(ConfigurationError, match="kind"):
        check_ranges(study, {"kind": CategoricalDistribution(("a", "c"))})
    with pytest.raises(ConfigurationError, match="lr"):
        check_ranges(study, {"lr": CategoricalDistribution(("a", "c"))})
    with pytest.raises(ConfigurationError, match="begun to maximize"):
        opened(tmp_path, direction="minimize")


def test_what_can_not_be_opened_is_named_without_its_password(tmp_path: Path) -> None:
    def refused(url: str) -> str:
        with pytest.raises(ConfigurationError) as found:
            open_study("s", url, "maximize", None, None, heartbeat=1, grace=2, reruns=0)  # type: ignore[arg-type]
        return str(found.value)

    assert "hydra.sweeper.storage=nonsense" in refused("nonsense")
    said = refused("mysql+nodriver://me:secret@host/db")
    assert "secret" not in said
    assert "me:***@host" in said


def test_nobody_is_bothered_with_optunas_experimental_warnings(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study, storage = opened(tmp_path)
        begun(study, storage)
        recover(study, storage)


@pytest.mark.parametrize("url", ["postgresql:/me:secret@host/name", "mysql://me:secret@host:port/name"])
def test_an_address_that_makes_no_sense_is_not_shown_with_its_password(url: str) -> None:
    assert shown(url) == f"{url.partition(':')[0]}:..."


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("postgresql://me:secret@host/name", "postgresql://me:***@host/name"),
        ("postgresql://me@host/name", "postgresql://me@host/name"),
        ("postgresql://me:se/cr@et@host/name", "postgresql://me:***@host/name"),
        ("postgresql://m/e:secret@host/name", "postgresql://m/e:***@host/name"),
        ("postgresql://host/name?user=me&password=secret", "postgresql://host/name"),
        ("sqlite:////home/me@work:1/study.db", "sqlite:////home/me@work:1/study.db"),
    ],
)
def test_no_part_of_a_password_is_shown(url: str, seen: str) -> None:
    assert shown(url) == seen
    assert has_password(url) == ("secret" in url or "se/cr" in url)


@pytest.mark.parametrize(
    ("url", "remedy"), [("postgresql://me:se@cret@host/name", "%40"), ("postgresql://me:cret/name", "sqlite")]
)
def test_an_address_that_would_be_misread_is_refused_and_not_quoted(url: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as found:
        open_storage(url)
    assert "cret" not in str(found.value)
    assert remedy in str(found.value)

"""A run and its trial, while the study's database does not answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from relit.sweep.trial import STUDY, TRIAL, StudyTrial

pytest.importorskip("optuna")


def test_no_run_is_given_up_while_the_database_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in ((STUDY, "study"), (TRIAL, "0")):
        monkeypatch.setenv(name, value)
    trial = StudyTrial("sqlite:////dev/null/study.db", {"_target_": "optuna.pruners.NopPruner"})
    assert not trial.give_up(3, 1.0)
    assert "could not be told of step 3" in caplog.text
    assert not trial.taken_over()


def test_a_run_learns_that_it_is_another_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import optuna

    from relit.sweep.storage import open_storage

    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(study_name="study", storage=open_storage(url))
    asked = study.ask()
    for name, value in ((STUDY, "study"), (TRIAL, str(asked._trial_id))):
        monkeypatch.setenv(name, value)
    trial = StudyTrial(url, {"_target_": "optuna.pruners.NopPruner"})
    assert not trial.give_up(3, 1.0)
    assert not trial.taken_over()
    study.tell(asked, state=optuna.trial.TrialState.FAIL)
    assert trial.taken_over()
    # it leaves at its next checkpoint; what is reported until then is in vain, but no reason to lose steps
    assert not trial.give_up(6, 0.5)
    assert study.trials[0].intermediate_values == {3: 1.0}

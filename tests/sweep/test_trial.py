"""A run and its trial, while the study's database does not answer."""

from __future__ import annotations

import pytest

from relit.sweep.trial import STORAGE, STUDY, TRIAL, StudyTrial

pytest.importorskip("optuna")


def test_no_run_is_given_up_while_the_database_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in ((STORAGE, "sqlite:////dev/null/study.db"), (STUDY, "study"), (TRIAL, "0")):
        monkeypatch.setenv(name, value)
    trial = StudyTrial({"_target_": "optuna.pruners.NopPruner"})
    assert not trial.give_up(3, 1.0)
    assert "could not be told of step 3" in caplog.text

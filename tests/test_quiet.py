"""What a run leaves unsaid, and what it must not."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from watched_line import trainer

import relit.quiet


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)


@pytest.mark.parametrize("in_a_job", [False, True])
def test_lightnings_hint_at_srun_is_for_jobs_of_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_a_job: bool
) -> None:
    srun = tmp_path / "srun"
    srun.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if in_a_job:
        monkeypatch.setenv("SLURM_JOB_ID", "7")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        relit.quiet.quieten()
        for _ in range(2):
            trainer([], steps=1)
    assert any("srun" in str(warning.message) for warning in said) == in_a_job


def test_the_packages_own_warnings_are_messages_and_others_keep_their_source() -> None:
    relit.quiet.quieten()
    ours, theirs = str(Path(relit.quiet.__file__).parent / "checkpoints.py"), "/somewhere/else.py"
    assert warnings.formatwarning("a torn file", UserWarning, ours, 3) == "warning: a torn file\n"
    assert theirs in warnings.formatwarning("a torn file", UserWarning, theirs, 3)
    assert ours in warnings.formatwarning("an old call", DeprecationWarning, ours, 3)

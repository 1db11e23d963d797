"""Exit statuses, as train.py and W&B get them."""

from __future__ import annotations

import signal

import pytest

from relit.errors import ConfigurationError, TrainingFailed, TrialPruned
from relit.exit_status import exit_status
from relit.stop_signals import Stopped


def after_ctrl_c() -> SystemExit:
    """What Lightning makes of it."""
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise SystemExit(1) from None
    except SystemExit as error:
        return error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigurationError("x"), 2),
        (TrainingFailed("x"), 1),
        (RuntimeError("x"), 1),
        (TrialPruned("x"), 0),
        (KeyboardInterrupt(), 130),
        (after_ctrl_c(), 130),
        (Stopped(signal.SIGTERM), 143),
        (Stopped(signal.SIGUSR1, "step 8 of the stage"), 128 + signal.SIGUSR1),
        (SystemExit(), 0),
        (SystemExit(0), 0),
        (SystemExit(5), 5),
        (SystemExit("a message"), 1),
    ],
)
def test_exit_status(error: BaseException, status: int) -> None:
    assert exit_status(error) == status

"""Exceptions whose message says what the user can do: it is printed alone, without a traceback."""

from __future__ import annotations


class ConfigurationError(Exception):
    """A mistake in the configuration or the input.

    The message names the path or the key and the remedy. ``train.py`` prints it alone and exits with
    status 2.
    """


class RunInUse(ConfigurationError):  # noqa: N818 - it says what happened
    """Another process uses the run's directory."""


class TrainingFailed(RuntimeError):  # noqa: N818 - it says what happened
    """Training went astray with settings that are no mistake in themselves.

    The message names the stage, the step, what is left of the run and the remedies. ``train.py`` prints it
    alone and exits with status 1.
    """


class ProcessLost(TrainingFailed):
    """Another process that the run needs is gone. Not every process of a run need learn of it."""


class RankZeroFailed(TrainingFailed):
    """Rank 0 failed at what it does for all processes. It says itself why, this message is for the others."""


class TrialPruned(Exception):  # noqa: N818 - it says what happened
    """A sweep ends this run: it gave it up because other trials had done better by the same step. It is no
    failure.
    """


class TrialTakenOver(TrialPruned):
    """A sweep ends this run here: another worker has taken it over, and goes on from its checkpoint."""

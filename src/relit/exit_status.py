"""What an exception means for the exit status of a process."""

from __future__ import annotations

from relit.errors import ConfigurationError, TrialPruned


def exit_status(error: BaseException) -> int:
    """0 for a run that was given up for better ones, 2 for a configuration mistake, 130 Ctrl-C, 143 SIGTERM.

    1 is anything else.
    """
    if isinstance(error, TrialPruned):
        return 0
    if isinstance(error, ConfigurationError):
        return 2
    # Lightning turns Ctrl-C into exit status 1 and SIGTERM into 0
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return 130
    if type(error).__name__ == "SIGTERMException":
        return 143
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 1

"""What an exception means for the exit status of a process."""

from __future__ import annotations

from relit.errors import ConfigurationError, TrialPruned


def exit_status(error: BaseException) -> int:
    """0 for a run that was given up for better ones, 2 for a configuration mistake, 130 for Ctrl-C.

    What ends the process has its own status: 143 after SIGTERM (:class:`relit.stop_signals.Stopped`). 1 is
    anything else.
    """
    if isinstance(error, TrialPruned):
        return 0
    if isinstance(error, ConfigurationError):
        return 2
    # Lightning turns Ctrl-C into exit status 1
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return 130
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 1

"""What is kept of a run that failed among others that go on."""

from __future__ import annotations

import textwrap
import traceback
from pathlib import Path

from relit.atomic import atomic_write
from relit.errors import ConfigurationError, TrainingFailed

TRACEBACK_FILE = "traceback.txt"


def failure_reason(error: BaseException, run_dir: Path) -> str:
    """Why a run failed, in one line; a traceback that its user needs goes to ``run_dir``."""
    if isinstance(error, ConfigurationError | TrainingFailed):
        return textwrap.shorten(str(error), 300)
    reason = textwrap.shorten(f"{type(error).__name__}: {error}", 200)
    try:
        atomic_write(run_dir / TRACEBACK_FILE, "".join(traceback.format_exception(error)).encode())
    except OSError:  # which may be why the run failed
        return reason
    return f"{reason} (see {run_dir / TRACEBACK_FILE})"

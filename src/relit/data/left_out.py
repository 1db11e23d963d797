"""What can't be used is left out: said once, with its names, or an error where the user asked for that."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from relit.errors import ConfigurationError

_NAMED = 5


def leave_out(key: str, what: str, problems: Sequence[str], total: int, strict: bool) -> None:
    """Warn once that ``problems`` are left out; an error when ``strict`` or when nothing would be left.

    Args:
        key: the configuration key that the photographs come from (``data.backlit``).
        what: what is wrong with them, as in "3 of 10 photographs cannot be read".
        problems: one text each.
        total: how many photographs there were.
        strict: whether leaving one out is an error.
    """
    if not problems:
        return
    more = len(problems) - _NAMED
    named = ", ".join(problems[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    message = f"{key}: {len(problems)} of {total} photographs {what}: {named}"
    if len(problems) == total:
        raise ConfigurationError(f"{message}. None is left: name another folder")
    if strict:
        raise ConfigurationError(
            f"{message}. Replace or remove them, or leave them out with data.strict=false"
        )
    warnings.warn(f"{message}: left out", stacklevel=3)


def in_threads(task: Callable[[int], str | None], count: int) -> list[str | None]:
    """``task(0)`` to ``task(count - 1)``, in threads: decoders work outside of Python's lock."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(task, range(count)))

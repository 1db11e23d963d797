"""What can't be used is left out: said once, with its names, or an error where the user asked for that."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from relit.data.few import few
from relit.errors import ConfigurationError


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
    message = f"{key}: {len(problems)} of {total} photographs {what}: {few(problems)}"
    if len(problems) == total:
        raise ConfigurationError(f"{message}. None is left: name another folder")
    if strict:
        raise ConfigurationError(
            f"{message}. Replace or remove them, or leave them out with data.strict=false"
        )
    warnings.warn(f"{message}: left out", stacklevel=3)

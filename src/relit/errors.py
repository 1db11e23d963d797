"""The one exception that means: the user can mend this."""

from __future__ import annotations


class ConfigurationError(Exception):
    """A mistake in the configuration or the input.

    The message names the path or the key and the remedy. ``train.py`` prints it alone and exits with
    status 2.
    """

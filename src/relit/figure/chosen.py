"""Which photographs a figure shows."""

from __future__ import annotations

from collections.abc import Sequence

from relit.errors import ConfigurationError
from relit.targets import near
from relit.validation_pictures import spread


def choose(names: Sequence[str], wanted: Sequence[str], count: int) -> list[int]:
    """Places of the photographs ``wanted``, in their order; of ``count``, spread over all, if none is.

    Args:
        names: of all photographs.
        wanted: names of those to show; empty for any.
        count: how many where none is named.

    Raises:
        ConfigurationError: there is no photograph of a name.
    """
    if not wanted:
        return sorted(spread(min(count, len(names)), len(names)))
    places = {name: place for place, name in reversed(list(enumerate(names)))}
    for name in wanted:
        if name not in places:
            shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
            raise ConfigurationError(
                f"--photo {name}: the run has no such photograph.{near(name, names)} "
                f"It has {len(names)}: {shown}"
            )
    return [places[name] for name in wanted]

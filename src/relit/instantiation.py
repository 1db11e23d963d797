"""From ``_target_`` nodes to what they describe: objects, and callables with some keywords bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from relit.errors import ConfigurationError


def build(node: Mapping[str, Any]) -> Any:
    """Instantiate a ``_target_`` node with plain containers; a ConfigurationError inside stays one."""
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ConfigurationError):
                raise cause from None
            cause = cause.__cause__
        raise


def bind(node: Mapping[str, Any]) -> Callable[..., Any]:
    """The callable that a ``_target_`` node describes, its keywords bound; called with the rest later."""
    return cast("Callable[..., Any]", build({**node, "_partial_": True}))

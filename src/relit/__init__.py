"""Relit: CLIP judges light (CLIP-LIT and CLIP-RestoreX on PyTorch Lightning and Hydra)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relit.model import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, and most that import relit want something else
    if name == "load":
        from relit.model import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

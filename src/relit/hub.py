"""The hub that weights are fetched from: whether waiting for it makes sense."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.utils import get_session

REACH_SECONDS = 10
"""How long the hub may take to answer at all; its own client would try again for up to ten minutes."""


def page_of(repository: str) -> str:
    """Where a browser finds a repository's files, such as those of ``timm/vit_base_patch32_224``."""
    return f"{constants.ENDPOINT}/{repository}"


def check_reach(repository: str, names: Iterable[str]) -> None:
    """Raise soon where none of the files ``names`` is stored here and the hub is out of reach.

    Raises:
        Exception: whatever the connection failed with.
    """
    if not any(isinstance(try_to_load_from_cache(repository, name), str) for name in names):
        get_session().head(constants.ENDPOINT, timeout=REACH_SECONDS)


def fetch(repository: str, name: str) -> Path:
    """The file ``name`` of a repository, fetched once and kept in the hub's own cache.

    Raises:
        Exception: whatever the connection failed with, or the hub refused.
    """
    check_reach(repository, [name])
    return Path(hf_hub_download(repository, name))

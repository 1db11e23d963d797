"""The database that a study is kept in: opened, and told without its password."""

from __future__ import annotations

import contextlib
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from relit.errors import ConfigurationError

OPENING_ATTEMPTS = 3

LOCK_SECONDS = 60.0
"""How long a worker waits for others that write to an SQLite file."""

_ADDRESSES = "Give a database as sqlite:///FILE or postgresql://USER@HOST/NAME."


def open_storage(url: str, **options: Any) -> RDBStorage:
    """The database at ``url``, made if it is an SQLite file that does not exist yet.

    Args:
        url: as SQLAlchemy's, such as ``sqlite:///runs/study.db`` or ``postgresql://user@host/name``.
        options: of :class:`optuna.storages.RDBStorage`.

    Raises:
        ConfigurationError: it can't be opened, or makes no sense.
    """
    _check_address(url)
    for attempt in range(1, OPENING_ATTEMPTS + 1):
        try:
            return _opened(url, options)
        except (ImportError, ValueError, SQLAlchemyError, StorageInternalError) as error:
            # another worker may be making the same tables at this moment
            if attempt < OPENING_ATTEMPTS and isinstance(error, OperationalError | IntegrityError):
                time.sleep(attempt)
                continue
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            raise ConfigurationError(
                f"hydra.sweeper.storage={shown(url)}: can't be opened ({reason}). {_ADDRESSES}"
            ) from error
    raise AssertionError


def _check_address(url: str) -> None:
    """Refuse what SQLAlchemy can't read, for its errors may quote a password, or would misread."""
    try:
        make_url(url)
    except (SQLAlchemyError, ValueError):
        raise ConfigurationError(
            f"hydra.sweeper.storage={shown(url)}: no address of a database. {_ADDRESSES}"
        ) from None
    if "@" in _credentials(url).partition(":")[2]:
        raise ConfigurationError(
            f"hydra.sweeper.storage={shown(url)}: more than one @ after the user's name. Write those that "
            "do not stand before the host, of a password say, as %40."
        )


def _opened(url: str, options: Mapping[str, Any]) -> RDBStorage:
    parts = make_url(url)
    sqlite = parts.get_backend_name() == "sqlite"
    if sqlite and parts.database:
        Path(parts.database).parent.mkdir(parents=True, exist_ok=True)
    engine = {"connect_args": {"timeout": LOCK_SECONDS}} if sqlite else {"pool_pre_ping": True}
    with without_experimental_warnings():
        return RDBStorage(url, engine_kwargs=engine, **options)


def shown(url: str) -> str:
    """``url`` without what may be part of a password; of one that makes no sense, only how it begins."""
    try:
        make_url(url)
    except (SQLAlchemyError, ValueError):
        return f"{url.partition(':')[0]}:..."
    user, colon, password = _credentials(url).partition(":")
    hidden = url.replace(f"{user}:{password}@", f"{user}:***@", 1) if colon else url
    # drivers take a password there, too
    return hidden.partition("?")[0]


def has_password(url: str) -> bool:
    """Whether whoever reads ``url`` can open the database with it."""
    try:
        parts = make_url(url)
    except (SQLAlchemyError, ValueError):
        return False
    return ":" in _credentials(url) or "password" in parts.query


def _credentials(url: str) -> str:
    """All that stands before the last ``@`` of a server's address; of a file's nothing, whatever its path."""
    found = re.search(r"(?<=://)[^/].*(?=@)", url, re.DOTALL)
    return found[0] if found else ""


@contextlib.contextmanager
def without_experimental_warnings() -> Iterator[None]:
    """Inside, Optuna does not warn of what it calls experimental: heartbeats since 2.9, some samplers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield

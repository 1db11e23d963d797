"""One task for many photographs, in threads: decoders work outside of Python's lock."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def in_threads(
    task: Callable[[Item], Outcome], items: Sequence[Item], doing: str | None = None
) -> list[Outcome]:
    """The outcome of ``task`` for each of ``items``, in their order.

    Args:
        task: what it raises ends the others that have not begun.
        items: photographs, or their numbers.
        doing: name of a bar on the standard error stream that tells how far this is; None draws none.
    """
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        outcomes = tqdm(
            pool.map(task, items),
            total=len(items),
            desc=doing,
            unit=" photos",
            file=sys.stderr,
            disable=doing is None,
        )
        try:
            return list(outcomes)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # or an interruption would wait for all that is queued
            raise

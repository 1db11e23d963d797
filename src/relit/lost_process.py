"""A process is gone that this one needs: said in words, not by a traceback of sockets."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

import torch.distributed

from relit.errors import ProcessLost

_WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (is killed by signal: \w+|exited unexpectedly)"
)
# of gloo, which raises a plain RuntimeError
_PEER = re.compile(r"gloo|Connection (closed|reset) by peer|Broken pipe|Connection refused")
# of NCCL: this process's own mistake or device, not another one's end
_OWN = re.compile(r"Duplicate GPU|unhandled cuda|invalid (usage|argument)|out of memory", re.IGNORECASE)


@contextlib.contextmanager
def losses_named() -> Iterator[None]:
    """Inside, the end of a data loader's worker or of another rank is a :class:`ProcessLost`."""
    try:
        yield
    except RuntimeError as error:
        message = what_was_lost(error)
        if message is None:
            raise
        raise ProcessLost(message) from error


def what_was_lost(error: RuntimeError) -> str | None:
    """The message for ``error`` if it comes of a process that has gone; None for other errors."""
    if worker := _WORKER.search(str(error)):
        return (
            f"A process that reads photographs (pid {worker[1]}) {worker[2]}. Killed often means that memory "
            "is short: fewer data.num_workers need less, data.num_workers=0 reads in the training process.\n"
            "The same command continues from the last checkpoint, with another data.num_workers, too."
        )
    between = isinstance(error, torch.distributed.DistError) or _PEER.search(str(error))
    if between and not _OWN.search(str(error)):
        rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or os.environ.get("LOCAL_RANK", "0")
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return (
            f"Rank {rank} has lost another process of the run ({reason}).\n"
            "Why that one ended is in what it wrote, on its own machine; if it was killed, it wrote nothing. "
            "The same command, with as many processes, continues from the last checkpoint."
        )
    return None

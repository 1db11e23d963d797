"""A stage's checkpoints: when they are written, and which one a run goes on from."""

from __future__ import annotations

import errno
import io
import warnings
import zipfile
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins import TorchCheckpointIO

from relit.atomic import atomic_write
from relit.processes import from_rank_0
from relit.stop_signals import Stopped, StopSignals

CHECKPOINT_NAME = "last.ckpt"
PREVIOUS_NAME = "previous.ckpt"
"""The one before, for the day on which a disk or a file server loses part of the last."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent, and that load without unpickling code.

    Lightning's own writer goes through the system's temporary folder, so it is not atomic where that is
    another file system, and neither syncs to the disk nor names the path when the disk is full.

    Rank 0 alone writes, and all ranks meet afterwards. So what it fails at is kept until they have, and
    raised by :meth:`raise_failure`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._failure: Exception | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write ``checkpoint`` to ``path`` in one atomic replacement; what was there is ``previous.ckpt``."""
        path = Path(path)
        buffer = io.BytesIO()
        try:
            torch.save(checkpoint, buffer)
            atomic_write(path, buffer.getvalue(), older=path.with_name(PREVIOUS_NAME))
        except Exception as error:
            self._failure = error

    def raise_failure(self) -> None:
        """Raise what the last checkpoint was not written for, if it was not."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def load_checkpoint(
        self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint: tensors and plain containers only."""
        return torch.load(path, map_location=map_location, weights_only=True)


class NewestCheckpoint(Checkpoint):
    """Write a checkpoint every ``every`` optimisation steps, and one when a signal ends the run.

    Args:
        folder: where ``last.ckpt`` lies, and beside it the one before.
        every: steps between two checkpoints.
        validate_every: steps between two validations, if there are any. A checkpoint at the same step waits
            for the validation, which a resumed run would leave out.
        signals: asked after each step, by all processes together.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        validate_every: int | None = None,
        signals: StopSignals | None = None,
    ) -> None:
        self.path = folder / CHECKPOINT_NAME
        self.every = every
        self.validate_every = validate_every
        self.signals = signals
        self._signal: int | None = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """End the run after a signal: now the figures of the last step are logged.

        Raises:
            Stopped: its checkpoint is written.
        """
        if self._signal is not None:
            raise Stopped(self._signal, f"step {trainer.global_step} of the stage")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write when due. Lightning calls checkpoint callbacks last, so the others' state is up to date."""
        if not self._validates(trainer):
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write when due."""
        self._save(trainer)

    def _validates(self, trainer: Trainer) -> bool:
        return (
            self.validate_every is not None
            and trainer.enable_validation
            and trainer.global_step % self.validate_every == 0
        )

    def _save(self, trainer: Trainer) -> None:
        if self.signals is not None:
            self._signal = self.signals.agreed(trainer.strategy)
        if self._signal is not None or trainer.global_step % self.every == 0:
            trainer.save_checkpoint(self.path)
            writer = cast("AtomicCheckpointIO", trainer.strategy.checkpoint_io)
            from_rank_0(trainer.strategy, writer.raise_failure)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in ``folder``; None if a stage has to begin anew.

    A damaged one is set aside as ``*.damaged``, with a warning, lest it take the place of a whole one.
    """
    damaged: list[Path] = []
    for path in (folder / CHECKPOINT_NAME, folder / PREVIOUS_NAME):
        if not path.exists():
            continue
        if is_whole(path):
            if damaged:
                warnings.warn(f"{damaged[0]} is damaged; going on from {path}, the one before", stacklevel=2)
            return path
        path.replace(path.with_name(f"{path.name}.damaged"))
        damaged.append(path)
    if damaged:
        warnings.warn(f"{damaged[0]} is damaged, and there is no other: the stage begins anew", stacklevel=2)
    return None


def is_whole(checkpoint: Path) -> bool:
    """Whether every byte is as it was written, by the check sums in the file.

    Raises:
        OSError: it can't be read now, which says nothing of what is in it.
    """
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a seek to where a wrong number in a header points
            raise OSError(error.errno, error.strerror, str(checkpoint)) from error
        return False
    except MemoryError:
        raise
    except Exception:  # whatever a reader stumbles over: a wrong number in a header can raise anything
        return False

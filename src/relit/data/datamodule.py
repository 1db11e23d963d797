"""The base of all data modules: batches that are a function of the step, and evaluation one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sized
from typing import Any, ClassVar, Protocol

import lightning
import torch
from lightning.pytorch.strategies import Strategy
from torch.utils.data import DataLoader, Dataset

from relit import protocols
from relit.data.cache import PhotoCache
from relit.data.reader import PhotoReader, Resize
from relit.data.sampling import PositionSampler
from relit.errors import ConfigurationError
from relit.keyed import keyed_seed
from relit.metrics import WINDOW
from relit.stop_signals import ignore_in_worker


class Items(Sized, Protocol):
    """What can be looked at one by one."""

    def __getitem__(self, index: int, /) -> Any: ...


class RankShare(Dataset[Any]):
    """Every ``world_size``-th item from number ``rank`` on: over all ranks each one is seen once."""

    def __init__(self, items: Items, rank: int, world_size: int) -> None:
        self.items = items
        self.indices = range(rank, len(items), world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Any:
        return self.items[self.indices[place]]


class PhotoData(lightning.LightningDataModule, ABC):
    """Photographs to train on, to validate on and to test on.

    ``train_dataloader`` is endless and begins at the trainer's step; what stands at a position of the run is
    a function of the position alone, so a resumed run and any number of workers or processes see the same.
    The other loaders give one photograph at a time, each once over all processes: ``input`` and, where there
    is one, ``reference`` (uint8, shape (1, 3, H, W)) and ``name`` (a list of one).

    Args:
        test_size: side of the square that photographs to test and validate on are resized to; None keeps
            their size.
        batch_size: training samples per process and step.
        seed: what the order of the photographs depends on.
        num_workers: processes that read training photographs; 0 reads in the training process.
        strict: whether a photograph that cannot be used is an error; otherwise it is left out with a warning.
        held_out: how many photographs (or scenes) are not trained on but validated on.
        protocol: the evaluation protocol of the test split, see :mod:`relit.protocols`.

    Attributes:
        test: what is tested on or None, after :meth:`setup`.
        validation: what is validated on or None, after :meth:`setup`.
        as_published: whether the test split is the whole one that the protocol names, after :meth:`setup`.
    """

    contents: ClassVar[tuple[str, ...]] = ("test", "validation", "as_published")
    """Attributes that :meth:`setup` fills and :meth:`share` hands over."""
    test: Items | None
    validation: Items | None
    as_published: bool = False

    def __init__(
        self,
        *,
        test_size: int | None,
        batch_size: int,
        seed: int,
        num_workers: int = 0,
        strict: bool = False,
        held_out: int = 0,
        protocol: str = protocols.RGB8.name,
    ) -> None:
        super().__init__()
        check_least(batch_size=(batch_size, 1), num_workers=(num_workers, 0), held_out=(held_out, 0))
        if test_size is not None:
            check_least(test_size=(test_size, WINDOW))
        self.test_size = test_size
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.strict = strict
        self.held_out = held_out
        self._protocol = protocols.find_protocol(protocol)
        self._source: PhotoData = self
        self._loaded = False

    @property
    def least_side(self) -> int:
        """Of photographs to test and validate on that have a reference, in pixels."""
        return WINDOW if self.test_size is None else 1

    @property
    def protocol(self) -> protocols.Protocol:
        """By which figures on the test split are measured, after :meth:`setup`.

        Squares of ``test_size``, a part of a data set, and resized copies of it follow no published one.
        """
        whole = self.as_published and self.test_size is None
        return self._protocol if whole else protocols.RGB8

    @abstractmethod
    def fill(self) -> None:
        """Load the photographs: set every attribute named in :attr:`contents`."""

    @abstractmethod
    def positions(self) -> Dataset[dict[str, Any]]:
        """What stands at each position of the run."""

    @abstractmethod
    def training_names(self) -> list[str]:
        """Names of all training photographs, in order, after :meth:`setup`."""

    def share(self, other: PhotoData) -> None:
        """Take the photographs of ``other``, which differs in batches alone, instead of loading again."""
        self._source = other

    def setup(self, stage: str | None = None) -> None:
        """Load the photographs, the first time it is called."""
        if self._loaded:
            return
        if self._source is self:
            self.fill()
        else:
            self._source.setup(stage)
            for name in self.contents:
                setattr(self, name, getattr(self._source, name))
        self._loaded = True

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches without end from the trainer's step on (from 0 without a trainer)."""
        start_step, rank, world_size, pin_memory = 0, 0, 1, False
        if self.trainer is not None:
            # With gradient accumulation one step of the trainer consumes several batches.
            start_step = self.trainer.global_step * self.trainer.accumulate_grad_batches
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
            pin_memory = self.trainer.strategy.root_device.type == "cuda"
            if world_size > 1:
                self._check_same_on_all_ranks(self.trainer.strategy)
        # Samples draw nothing from the workers' generators, but a user's own data set may: so they are a
        # function of what is trained where. The global generator is left alone.
        workers = torch.Generator().manual_seed(keyed_seed(self.seed, "workers", start_step, rank))
        return DataLoader(
            self.positions(),
            batch_sampler=PositionSampler(self.batch_size, start_step, rank, world_size),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=ignore_in_worker,
            generator=workers,
        )

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """This process's share of the validation photographs; nothing where there are none."""
        return self._one_by_one(self.validation)

    def test_dataloader(self) -> DataLoader[Any] | list[Any]:
        """This process's share of the test photographs; nothing where there are none."""
        return self._one_by_one(self.test)

    def predict_dataloader(self) -> DataLoader[Any] | list[Any]:
        """What to predict on: the test photographs, whether they have references or not."""
        return self._one_by_one(self.test)

    def _check_same_on_all_ranks(self, strategy: Strategy) -> None:
        """Positions mean the same photographs everywhere only if every rank lists the same ones."""
        names = self.training_names()
        digest = keyed_seed(*names)
        if not strategy.reduce_boolean_decision(strategy.broadcast(digest) == digest):
            raise ConfigurationError(
                f"data: the processes see different training photographs (here {len(names)}): make the same "
                "files readable on every node; relit data verify tells what is wrong with a copy"
            )

    def _one_by_one(self, items: Items | None) -> DataLoader[Any] | list[Any]:
        if items is None:
            return []
        rank, world_size = 0, 1
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
        # a generator of its own: a loader draws a seed whenever it is iterated, from the global one otherwise
        return DataLoader(RankShare(items, rank, world_size), batch_size=1, generator=torch.Generator())


def photo_reader(resize: Resize, cache: bool, cache_dir: str | None) -> PhotoReader:
    """Reads at ``resize``; through the cache in ``cache_dir`` if ``cache``.

    Raises: :class:`ConfigurationError` when there is to be a cache and no folder for it.
    """
    if cache and not cache_dir:
        raise ConfigurationError(
            "data.cache_dir is not set: name a folder for decoded photographs, or data.cache=false"
        )
    return PhotoReader(resize, PhotoCache(cache_dir) if cache and cache_dir else None)


def check_least(**values: tuple[Any, int]) -> None:
    """Each value must be a whole number of at least the second number; the names are keys under ``data``."""
    for key, (value, least) in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigurationError(f"data.{key}: expected at least {least}, found {value}.")

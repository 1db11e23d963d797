"""LightningDataModules: batches that are a function of the step, and test pairs one at a time."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, Dataset

from relit.data.folders import Pairs, PairSet, Photos, PhotoSet, list_photos
from relit.data.sampling import PositionSampler, permuted_index
from relit.data.validation import ValidationPhotos, hold_out
from relit.errors import ConfigurationError

# Resized photographs of one folder are kept in memory up to this size; larger folders are decoded each time.
CACHE_BYTES = 2 * 2**30


class PositionDataset(Dataset[dict[str, Any]]):
    """What stands at a position of the run: an index into either set and, if asked for, the backlit photo."""

    def __init__(self, backlit: Photos, well_lit: Photos, images: bool, seed: int) -> None:
        self.backlit = backlit
        self.well_lit = well_lit
        self.images = images
        self.seed = seed

    def __getitem__(self, position: int) -> dict[str, Any]:
        backlit = permuted_index(position, len(self.backlit), self.seed, "backlit")
        well_lit = permuted_index(position, len(self.well_lit), self.seed, "well_lit")
        sample: dict[str, Any] = {"position": position, "backlit": backlit, "well_lit": well_lit}
        if self.images:
            sample["image"] = self.backlit[backlit]
        return sample


class PairShare(Dataset[Any]):
    """Every ``world_size``-th item from number ``rank`` on: over all ranks each one is seen once."""

    def __init__(self, pairs: Pairs | ValidationPhotos, rank: int, world_size: int) -> None:
        self.pairs = pairs
        self.indices = range(rank, len(pairs), world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Any:
        return self.pairs[self.indices[place]]


class UnpairedPhotos(lightning.LightningDataModule, ABC):
    """Backlit photographs, unrelated well-lit ones and, optionally, test pairs.

    ``train_dataloader`` is endless and begins at the trainer's step; a batch of it holds, for B positions of
    the run, ``position``, ``backlit`` and ``well_lit`` (int64, shape (B,): the position and an index into
    either set) and, if ``images``, ``image`` (uint8, shape (B, 3, size, size): the backlit photographs).
    ``test_dataloader`` gives one pair at a time: ``input`` and ``reference`` (uint8, shape (1, 3, H, W);
    ``reference`` only where there is one) and ``name`` (a list of one). ``val_dataloader`` gives the same for
    the validation photographs, and ``well_lit`` and ``name`` for held-out well-lit ones.

    Args:
        size: side in pixels of the square that training photographs are resized to.
        test_size: the same for test pairs; None keeps their size.
        batch_size: training samples per process and step.
        images: whether batches hold pixels or only indices.
        seed: what the order of the photographs depends on.
        num_workers: processes that decode training photographs; 0 decodes in the training process.
        strict: whether a photograph that cannot be used is an error; otherwise it is left out with a warning.
        held_out: photographs of either set that are not trained on but validated on.

    Attributes:
        backlit, well_lit: the training photographs, after :meth:`setup`.
        test: the test pairs or None, after :meth:`setup`.
        validation: what stages are validated on, or None, after :meth:`setup`.
    """

    backlit: Photos
    well_lit: Photos
    test: Pairs | None
    validation: ValidationPhotos | None

    def __init__(
        self,
        *,
        size: int,
        test_size: int | None,
        batch_size: int,
        images: bool,
        seed: int,
        num_workers: int = 0,
        strict: bool = False,
        held_out: int = 0,
    ) -> None:
        super().__init__()
        for key, value, least in (
            ("size", size, 1),
            ("test_size", test_size, 11),
            ("batch_size", batch_size, 1),
            ("held_out", held_out, 0),
        ):
            if value is not None and not (isinstance(value, int) and value >= least):
                raise ConfigurationError(f"data.{key}: expected at least {least}, found {value}.")
        self.size = size
        self.test_size = test_size
        self.batch_size = batch_size
        self.images = images
        self.seed = seed
        self.num_workers = num_workers
        self.strict = strict
        self.held_out = held_out
        self._source: UnpairedPhotos = self
        self._loaded = False

    @abstractmethod
    def load(self) -> tuple[Photos, Photos, Pairs | None]:
        """Backlit and well-lit photographs (of side ``size``) and test pairs (of ``test_size``) or None."""

    def load_validation(self) -> Pairs | None:
        """Validation pairs of their own (of ``test_size``), or None where there are none."""
        return None

    def share(self, other: UnpairedPhotos) -> None:
        """Take the photographs of ``other``, which differs in batches alone, instead of loading again."""
        self._source = other

    def setup(self, stage: str | None = None) -> None:
        """Load the photographs, the first time it is called."""
        if self._loaded:
            return
        if self._source is self:
            backlit, well_lit, self.test = self.load()
            self._set_apart(backlit, well_lit, self.load_validation())
        else:
            self._source.setup(stage)
            self.backlit, self.well_lit = self._source.backlit, self._source.well_lit
            self.test, self.validation = self._source.test, self._source.validation
        self._loaded = True

    def _set_apart(self, backlit: Photos, well_lit: Photos, pairs: Pairs | None) -> None:
        """Hold out what is validated on: pairs of their own go before held-out backlit photographs."""
        self.backlit, self.well_lit, self.validation = backlit, well_lit, None
        if self.held_out:
            inputs: Pairs | Photos | None = pairs
            if inputs is None:
                self.backlit, inputs = hold_out(backlit, self.held_out, self.seed, "held out", "backlit")
            self.well_lit, references = hold_out(well_lit, self.held_out, self.seed, "held out", "well_lit")
            self.validation = ValidationPhotos(inputs, references)
        elif pairs is not None:
            self.validation = ValidationPhotos(pairs, None)

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches without end from the trainer's step on (from 0 without a trainer)."""
        start_step, rank, world_size, pin_memory = 0, 0, 1, False
        if self.trainer is not None:
            # With gradient accumulation one step of the trainer consumes several batches.
            start_step = self.trainer.global_step * self.trainer.accumulate_grad_batches
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
            pin_memory = self.trainer.strategy.root_device.type == "cuda"
        return DataLoader(
            PositionDataset(self.backlit, self.well_lit, self.images, self.seed),
            batch_sampler=PositionSampler(self.batch_size, start_step, rank, world_size),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=pin_memory,
            # Without a generator of its own a loader draws its workers' seed from the global one.
            generator=torch.Generator().manual_seed(0),
        )

    def test_dataloader(self) -> DataLoader[Any] | list[Any]:
        """This process's share of the test pairs, one at a time; nothing where there are no test pairs."""
        return self._one_by_one(self.test)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """This process's share of the validation photographs, one at a time; nothing where there are none."""
        return self._one_by_one(self.validation)

    def _one_by_one(self, photos: Pairs | ValidationPhotos | None) -> DataLoader[Any] | list[Any]:
        if photos is None:
            return []
        rank, world_size = 0, 1
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
        # a generator of its own: a loader draws a seed whenever it is iterated, from the global one otherwise
        return DataLoader(PairShare(photos, rank, world_size), batch_size=1, generator=torch.Generator())


class FolderPhotos(UnpairedPhotos):
    """Photographs from folders.

    Args:
        backlit: folder of backlit photographs.
        well_lit: folder of well-lit photographs of any other scenes, or a list of folders.
        test_input: folder of test photographs.
        test_reference: folder of their references, with the same file names but for extension and case.
        val_input: folder of validation photographs.
        val_reference: folder of their references.
        root: where relative folders start; None: at the working directory.

    The other arguments are those of :class:`UnpairedPhotos`.
    """

    def __init__(
        self,
        backlit: str | None,
        well_lit: str | list[str] | None,
        test_input: str | None = None,
        test_reference: str | None = None,
        val_input: str | None = None,
        val_reference: str | None = None,
        root: str | None = None,
        *,
        size: int,
        test_size: int | None,
        batch_size: int,
        images: bool,
        seed: int,
        num_workers: int = 0,
        strict: bool = False,
        held_out: int = 0,
    ) -> None:
        super().__init__(
            size=size,
            test_size=test_size,
            batch_size=batch_size,
            images=images,
            seed=seed,
            num_workers=num_workers,
            strict=strict,
            held_out=held_out,
        )
        self.root = root
        self.folders = {"backlit": backlit, "well_lit": well_lit}
        self.pair_folders = {"test": (test_input, test_reference), "val": (val_input, val_reference)}
        self._val_pairs: PairSet | None = None

    def load(self) -> tuple[Photos, Photos, Pairs | None]:
        """Decode every photograph once; :class:`ConfigurationError` for folders that cannot be used."""
        # All folders are listed before one is decoded, so that a wrong path is found at once.
        listed = {name: self._list(folder, f"data.{name}") for name, folder in self.folders.items()}
        test, self._val_pairs = self._list_pairs("test"), self._list_pairs("val")
        photos = {name: self._photos(paths, f"data.{name}") for name, paths in listed.items()}
        for pairs in (test, self._val_pairs):
            if pairs is not None:
                pairs.verify()
        return photos["backlit"], photos["well_lit"], test

    def load_validation(self) -> Pairs | None:
        """The pairs of ``val_input``, listed and decoded by :meth:`load`."""
        return self._val_pairs

    def _list(self, folders: str | list[str] | None, key: str) -> list[Path]:
        named = folders if isinstance(folders, list) else [folders]
        if not named:
            return list_photos(None, key)
        rooted = [Path(self.root or "", folder) if folder else None for folder in named]
        return [path for folder in rooted for path in list_photos(folder, key)]

    def _list_pairs(self, role: str) -> PairSet | None:
        source, target = self.pair_folders[role]
        key, reference_key = f"data.{role}_input", f"data.{role}_reference"
        if source is None:
            if target is not None:
                raise ConfigurationError(
                    f"{reference_key} is set but {key} is not: name the folder of the inputs with {key}=DIR"
                )
            return None
        references = None if target is None else self._list(target, reference_key)
        inputs = self._list(source, key)
        return PairSet(inputs, references, self.test_size, self.strict, key, reference_key)

    def _photos(self, paths: list[Path], key: str) -> PhotoSet:
        cache = len(paths) * 3 * self.size**2 <= CACHE_BYTES
        photos = PhotoSet(paths, self.size, cache, key)
        photos.verify(self.strict)
        if len(photos) == 1:
            warnings.warn(
                f"{key}: {paths[0].parent} gives one photograph only: training will fit it and little else",
                stacklevel=2,
            )
        return photos

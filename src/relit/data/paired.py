"""Badly exposed photographs with their references: what exposure correction learns from."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset

from relit.data.crops import crop_at
from relit.data.datamodule import PhotoData, check_least, photo_reader
from relit.data.reader import PhotoReader, Resize
from relit.data.sampling import permuted_index
from relit.data.sets import Pairs
from relit.data.symmetries import turned
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator


class PairSplits(NamedTuple):
    """The pairs of a data set by what they are for."""

    train: Pairs | None
    val: Pairs | None
    test: Pairs | None


class PairedPositions(Dataset[dict[str, Any]]):
    """What stands at a position of the run: a crop of a pair, both drawn by the position."""

    def __init__(self, pairs: Pairs, crop: int, seed: int) -> None:
        self.pairs = pairs
        self.crop = crop
        self.seed = seed

    def __getitem__(self, position: int) -> dict[str, Any]:
        pair = self.pairs[permuted_index(position, len(self.pairs), self.seed, "pairs")]
        draw = torch.rand(2, generator=keyed_generator(self.seed, "crop", position)).tolist()
        crops: dict[str, Any] = {
            kind: crop_at(pair[kind], self.crop, draw) for kind in ("input", "reference") if kind in pair
        }
        return {"position": position, **crops}


class PairedPhotos(PhotoData):
    """Pairs of photographs, cropped for training.

    A training batch holds, for B positions of the run, ``position`` (int64, shape (B,)), ``input`` and
    ``reference`` (uint8, shape (B, 3, crop, crop)); pairs are cropped, flipped and turned alike, the latter
    two on the device. ``val_dataloader`` and ``test_dataloader`` give whole pairs with their ``label``.

    Args:
        crop: side in pixels of the square cut from training pairs; smaller pairs are mirrored at their
            border.
        augment: whether training pairs are flipped and turned by quarters.
        long_side: photographs to train on are reduced to it where they are larger; None keeps their size.
        cache: whether decoded training photographs are kept on disk.
        cache_dir: where; needed if ``cache``.
        options: those of :class:`~relit.data.datamodule.PhotoData`; ``held_out`` counts training scenes to
            validate on, where the data set has no validation split.

    Attributes:
        train: the training pairs or None, after :meth:`setup`.
        train_reader: reads photographs to train on.
        test_reader: reads those to validate and test on.
    """

    contents = ("train", *PhotoData.contents)
    train: Pairs | None
    test: Pairs | None
    validation: Pairs | None

    def __init__(
        self,
        *,
        crop: int,
        augment: bool = True,
        long_side: int | None = None,
        cache: bool = False,
        cache_dir: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_least(crop=(crop, 1))
        if long_side is not None:
            check_least(long_side=(long_side, crop))
        self.crop = crop
        self.augment = augment
        self.train_reader = photo_reader(Resize(long_side=long_side), cache, cache_dir)
        self.test_reader = PhotoReader(Resize(square=self.test_size))

    @abstractmethod
    def load(self) -> PairSplits:
        """The pairs of every split, decoded when they are asked for."""

    def fill(self) -> None:
        """Load."""
        self.train, self.validation, self.test = self.load()

    def positions(self) -> PairedPositions:
        """A crop of a pair at each position."""
        return PairedPositions(self.to_train_on(), self.crop, self.seed)

    def to_train_on(self) -> Pairs:
        """The training pairs.

        Raises: :class:`ConfigurationError` when there are none.
        """
        if self.train is None:
            raise ConfigurationError("data: no pair to train on; name a data set that has some")
        return self.train

    def training_names(self) -> list[str]:
        """Those of the training pairs."""
        return list(self.to_train_on().names)

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Flip and turn training pairs, where they are used: each by a draw of its position."""
        if not self.augment or "position" not in batch:
            return batch
        positions = batch["position"].tolist()
        moved: dict[str, Any] = {
            kind: turned(batch[kind], positions, self.seed)
            for kind in ("input", "reference")
            if kind in batch
        }
        return {**batch, **moved}

"""Badly exposed photographs with their references: what exposure correction learns from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from relit.data.datamodule import PhotoData, check_least, photo_reader
from relit.data.duplicates import counted_once
from relit.data.layouts.layout import Layout
from relit.data.leaks import without_leaks
from relit.data.left_out import leave_out
from relit.data.manifest import read_manifest
from relit.data.reader import Resize
from relit.data.resized import resized_to
from relit.data.rows import SPLITS, Row, Split
from relit.data.sampling import permuted_index
from relit.data.sets import Pairs, PairSet
from relit.data.symmetries import turned
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator
from relit.protocols import RGB8


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
        options: those of :class:`~relit.data.datamodule.PhotoData`; ``held_out`` counts training scenes to
            validate on, where the data set has no validation split.

    Attributes:
        train: the training pairs or None, after :meth:`setup`.
    """

    contents = ("train", *PhotoData.contents)
    train: Pairs | None
    test: Pairs | None
    validation: Pairs | None

    def __init__(self, *, crop: int, augment: bool = True, **options: Any) -> None:
        super().__init__(**options)
        check_least(crop=(crop, 1))
        self.crop = crop
        self.augment = augment

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


class LayoutPairs(PairedPhotos):
    """The pairs of a published data set, or of a manifest in its place.

    Args:
        layout: what the data set looks like on disk.
        root: the folder that holds it; None: the working directory.
        manifest: a file as of :mod:`~relit.data.manifest` that takes the place of the layout; relative to
            ``root``.
        long_side: photographs to train on are reduced to it where they are larger; None keeps their size.
        cache: whether decoded training photographs are kept on disk.
        cache_dir: where; needed if ``cache``.
        options: those of :class:`PairedPhotos`.
    """

    def __init__(
        self,
        layout: Layout | None,
        root: str | None,
        manifest: str | None = None,
        long_side: int | None = None,
        cache: bool = False,
        cache_dir: str | None = None,
        **options: Any,
    ) -> None:
        protocol = RGB8.name if layout is None else layout.protocol
        super().__init__(**{"protocol": protocol, **options})
        if long_side is not None:
            check_least(long_side=(long_side, self.crop))
        if layout is None and manifest is None:
            raise ConfigurationError("data.layout: neither a layout nor data.manifest is set; choose one")
        self.layout = layout
        self.root = root
        self.manifest = manifest
        self._train_reader = photo_reader(Resize(long_side=long_side), cache, cache_dir)
        self._test_reader = photo_reader(Resize(square=self.test_size), False, None)

    def load(self) -> PairSplits:
        """List, and leave out with a warning what is unusable: by its header, its name or its scene.

        Raises: :class:`ConfigurationError` when the data set is not there or no pair is left.
        """
        key = "data.root" if self.manifest is None else "data.manifest"
        rows = without_leaks(self._with_references(self._listed(key), key), key, self.strict)
        split = {name: [row for row in rows if row.split == name] for name in SPLITS}
        if self.held_out:
            if split["val"]:
                raise ConfigurationError(
                    f"data.held_out={self.held_out}: the data set has a validation split; use data.held_out=0"
                )
            split["train"], split["val"] = hold_out_scenes(split["train"], self.held_out, self.seed)
        return PairSplits(
            self._pairs(split["train"], "train", key),
            self._pairs(split["val"], "val", key),
            self._pairs(split["test"], "test", key),
        )

    def _listed(self, key: str) -> list[Row]:
        if self.manifest is not None:
            return read_manifest(Path(self.root or "").expanduser() / Path(self.manifest).expanduser())
        assert self.layout is not None
        home = self.layout.home(self.root or ".")
        listing = self.layout.list(home)
        self.as_published = self.layout.is_complete(home, listing.rows, "test") and not resized_to(home)
        problems = [
            f"{Path(finding.where).name} ({finding.message})" for finding in listing.findings if finding.fault
        ]
        total = len(listing.rows) + len(problems)
        leave_out(key, "or their folders are missing or unmatched", problems, total, self.strict)
        return listing.rows

    def _with_references(self, rows: Sequence[Row], key: str) -> list[Row]:
        """Without rows to learn from or to validate on that say nothing about what is right."""
        blind = [row for row in rows if row.reference is None and row.split != "test"]
        names = [row.input.name for row in blind]
        leave_out(key, "to train or validate on have no reference", names, len(rows), self.strict)
        gone = set(blind)
        return [row for row in rows if row not in gone]

    def _pairs(self, rows: Sequence[Row], split: Split, key: str) -> PairSet | None:
        if not rows:
            return None
        chosen = rows if split == "train" else counted_once(rows, key)
        pairs = PairSet(chosen, self._train_reader if split == "train" else self._test_reader, key)
        usable = pairs.verify(self.strict, decode=False)
        if split == "test":
            self.as_published = self.as_published and usable
        return pairs


def hold_out_scenes(rows: Sequence[Row], count: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Split rows into those to train on and those of ``count`` scenes, drawn by ``seed``, to validate on.

    Raises: :class:`ConfigurationError` when nothing would be left to train on.
    """
    scenes = list(dict.fromkeys(row.scene for row in rows))
    if count >= len(scenes):
        raise ConfigurationError(
            f"data.held_out: {count} scenes can't be held out of {len(scenes)}; hold out fewer."
        )
    order = torch.randperm(len(scenes), generator=keyed_generator(seed, "held out", "scenes")).tolist()
    drawn = {scenes[place] for place in order[:count]}
    return [row for row in rows if row.scene not in drawn], [row for row in rows if row.scene in drawn]


def crop_at(photo: Tensor, side: int, place: Sequence[float]) -> Tensor:
    """A square of ``side`` pixels: a copy, shape (C, side, side), of a photograph (C, H, W).

    Args:
        photo: what is smaller than the square is mirrored at its right and lower border.
        side: of the square, in pixels.
        place: of the square, down and right: two numbers in [0, 1) of the room there is.
    """
    photo = mirrored_to(photo, side)
    top, left = (int(u * (extent - side + 1)) for u, extent in zip(place, photo.shape[1:], strict=True))
    return photo[:, top : top + side, left : left + side].clone()


def mirrored_to(photo: Tensor, side: int) -> Tensor:
    """``photo`` (C, H, W), continued by its mirror image to at least ``side`` pixels either way."""
    for dim in (1, 2):
        extent = photo.shape[dim]
        if extent < side:
            order = torch.arange(side) % (2 * extent)
            photo = photo.index_select(dim, torch.minimum(order, 2 * extent - 1 - order))
    return photo

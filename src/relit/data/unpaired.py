"""Backlit photographs beside unrelated well-lit ones: what CLIP-LIT learns from."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch.utils.data import Dataset

from relit.data.datamodule import PhotoData, check_least
from relit.data.sampling import permuted_index
from relit.data.sets import Pairs, Photos
from relit.data.validation import ValidationPhotos, hold_out


class UnpairedPositions(Dataset[dict[str, Any]]):
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


class UnpairedPhotos(PhotoData):
    """Backlit photographs, unrelated well-lit ones and, optionally, test pairs.

    A training batch holds, for B positions of the run, ``position``, ``backlit`` and ``well_lit`` (int64,
    shape (B,): the position and an index into either set) and, if ``images``, ``image`` (uint8, shape
    (B, 3, size, size): the backlit photographs). ``val_dataloader`` gives, besides what the base says,
    ``well_lit`` and ``name`` for held-out well-lit photographs.

    Args:
        size: side in pixels of the square that training photographs are resized to.
        images: whether batches hold pixels or only indices.
        options: those of :class:`~relit.data.datamodule.PhotoData`; ``held_out`` counts photographs of either
            set.

    Attributes:
        backlit, well_lit: the training photographs, after :meth:`setup`.
    """

    contents = ("backlit", "well_lit", *PhotoData.contents)
    backlit: Photos
    well_lit: Photos
    test: Pairs | None
    validation: ValidationPhotos | None

    def __init__(self, *, size: int, images: bool, **options: Any) -> None:
        super().__init__(**options)
        check_least(size=(size, 1))
        self.size = size
        self.images = images

    @abstractmethod
    def load(self) -> tuple[Photos, Photos, Pairs | None]:
        """Backlit and well-lit photographs (of side ``size``) and test pairs (of ``test_size``) or None."""

    def load_validation(self) -> Pairs | None:
        """Validation pairs of their own (of ``test_size``), or None where there are none."""
        return None

    def fill(self) -> None:
        """Load, and set apart what is validated on."""
        backlit, well_lit, self.test = self.load()
        self._set_apart(backlit, well_lit, self.load_validation())

    def positions(self) -> UnpairedPositions:
        """An index into either set at each position, and the backlit photograph if ``images``."""
        return UnpairedPositions(self.backlit, self.well_lit, self.images, self.seed)

    def training_names(self) -> list[str]:
        """Those of the backlit photographs, then those of the well-lit ones."""
        return [*self.backlit.names, *self.well_lit.names]

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

"""Pairs of good photographs and what faults make of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from relit.data.faults import ExposureFaults, take_badly
from relit.data.paired import PairedPhotos, PairedPositions
from relit.data.sets import Pair, Pairs


class BadlyTakenSet(Dataset[Pair]):
    """Pairs of a photograph, whole, and its faulty versions, made when they are asked for.

    Args:
        photos: good photographs, as the inputs of pairs without references.
        keys: one for each, by which its faults are drawn: the same ones wherever it is used.
        faults: what may happen to them.
        exposures: faulty versions of each.

    Attributes:
        names: those of the photographs; with several versions of each, numbered.
    """

    def __init__(
        self, photos: Pairs, keys: Sequence[str], faults: ExposureFaults, exposures: int = 1
    ) -> None:
        self.photos = photos
        self.keys = keys
        self.faults = faults
        self.exposures = exposures
        self.names = [
            name if exposures == 1 else f"{name}-{number}"
            for name in photos.names
            for number in range(exposures)
        ]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Pair:
        place, number = divmod(index, self.exposures)
        reference = self.photos[place]["input"]
        fault = self.faults.draw(number, "photo", self.keys[place])
        return Pair(
            input=take_badly(reference[None], [fault])[0],
            reference=reference,
            name=self.names[index],
            label=fault.label,
        )


class BadlyTakenPairs(PairedPhotos):
    """Good photographs, as references of pairs whose inputs are made from them.

    Training inputs are made on the device, each by the fault that its position draws. To validate or test on,
    a photograph gives the same pairs in every run.

    Args:
        faults: what happens to the photographs.
        options: those of :class:`~relit.data.paired.PairedPhotos`.
    """

    train: BadlyTakenSet

    def __init__(self, faults: ExposureFaults, **options: Any) -> None:
        super().__init__(**options)
        self.faults = faults

    def positions(self) -> PairedPositions:
        """A crop of a good photograph at each position, as ``input`` until its fault is made."""
        return PairedPositions(self.train.photos, self.crop, self.seed)

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Flip and turn the good photographs of a training batch, and make the bad ones."""
        batch = super().on_after_batch_transfer(batch, dataloader_idx)
        if "position" not in batch:
            return batch
        reference = batch["input"]
        faults = [self.faults.draw(position, self.seed) for position in batch["position"].tolist()]
        return {**batch, "input": take_badly(reference, faults), "reference": reference}

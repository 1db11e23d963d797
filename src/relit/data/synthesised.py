"""Good photographs and what faults make of them: pairs for training where nobody took any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from relit.data.badly_taken import BadlyTakenPairs, BadlyTakenSet
from relit.data.datamodule import check_least
from relit.data.duplicates import counted_once
from relit.data.faults import ExposureFaults
from relit.data.files import list_folders, same_name
from relit.data.leaks import without_leaks
from relit.data.paired import PairSplits
from relit.data.reader import PhotoReader
from relit.data.rows import Row, Split
from relit.data.sets import Pairs, PairSet
from relit.data.validation import hold_out_scenes
from relit.errors import ConfigurationError
from relit.keyed import keyed_seed


class SynthesisedPairs(BadlyTakenPairs):
    """Any good photographs, as references of pairs whose inputs are made from them.

    A photograph's faults follow from its file's name, and which ones are tested on depends on no seed.

    Args:
        photos: folder of good photographs, or a list of folders.
        faults: what happens to them.
        root: where relative folders start; None: at the working directory.
        test_photos: a number of ``photos``, drawn by their names, or a folder or folders of others; 0 for
            no test.
        exposures: faulty versions of each photograph to validate or test on.
        options: those of :class:`~relit.data.paired.PairedPhotos`.
    """

    def __init__(
        self,
        photos: str | list[str] | None,
        faults: ExposureFaults,
        root: str | None = None,
        test_photos: int | str | list[str] = 0,
        exposures: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(faults, **options)
        check_least(exposures=(exposures, 1))
        if not isinstance(test_photos, str | list):
            check_least(test_photos=(test_photos, 0))
        self.photos = photos
        self.root = root
        self.test_photos = test_photos
        self.exposures = exposures

    def load(self) -> PairSplits:
        """List, and leave out with a warning what can't be read, is there twice or is tested on, too.

        Raises: :class:`ConfigurationError` when a folder is not there or no training photograph is left.
        """
        train, test = self._listed()
        val: list[Row] = []
        if self.held_out:
            train, val = hold_out_scenes(train, self.held_out, self.seed)
        return PairSplits(
            self._taken(train, "data.photos", self.train_reader),
            self._fixed(val, "data.photos"),
            self._fixed(test, "data.photos" if isinstance(self.test_photos, int) else "data.test_photos"),
        )

    def _listed(self) -> tuple[list[Row], list[Row]]:
        """Rows to train or validate on, and to test on."""
        photos = self._rows(self.photos, "train", "data.photos")
        if isinstance(self.test_photos, int):
            return draw_by_name(photos, self.test_photos)
        tested = self._rows(self.test_photos, "test", "data.test_photos")
        kept = without_leaks(photos + tested, "data.photos", self.strict)[: -len(tested)]
        if not kept:
            raise ConfigurationError(
                "data.photos: every photograph is tested on, too; name others with data.photos=DIR"
            )
        return kept, tested

    def _rows(self, folders: str | list[str] | None, split: Split, key: str) -> list[Row]:
        paths = list_folders(folders, self.root, key)
        return counted_once([Row(path, None, split, "well_lit", str(path)) for path in paths], key)

    def _fixed(self, rows: Sequence[Row], key: str) -> Pairs | None:
        return self._taken(rows, key, self.test_reader, self.exposures) if rows else None

    def _taken(self, rows: Sequence[Row], key: str, reader: PhotoReader, exposures: int = 1) -> BadlyTakenSet:
        photos = PairSet(rows, reader, key)
        photos.verify(self.strict, decode=False)
        names = [same_name(row.input.name) for row in photos.rows]
        return BadlyTakenSet(photos, names, self.faults, exposures)


def draw_by_name(rows: Sequence[Row], count: int) -> tuple[list[Row], list[Row]]:
    """Split rows into those to train on and ``count`` to test on: the same ones whatever the seed.

    Raises: :class:`ConfigurationError` when nothing would be left to train on.
    """
    if count >= len(rows):
        raise ConfigurationError(
            f"data.test_photos: {count} photographs can't be held out of {len(rows)}; hold out fewer, or "
            "name a folder of other photographs with data.test_photos=DIR"
        )
    drawn = set(sorted(rows, key=lambda row: keyed_seed("test", same_name(row.input.name)))[:count])
    return [row for row in rows if row not in drawn], [row for row in rows if row in drawn]

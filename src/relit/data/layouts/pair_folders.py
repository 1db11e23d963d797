"""A user's own pairs: two folders of each split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from relit.data.files import list_photos
from relit.data.layouts.layout import Counts, Layout, existing_root, pair_rows, single_rows
from relit.data.rows import Listing, Split
from relit.errors import ConfigurationError


@dataclass(frozen=True)
class PairFolders(Layout):
    """Folders of inputs and of references with the same file names but for extension and case.

    Attributes:
        train_input, train_reference: folders to train on; relative ones start at the root.
        val_input, val_reference: folders to validate on, if there are any.
        test_input, test_reference: folders to test on, if there are any; ``test_input`` may stand alone.
    """

    train_input: str
    train_reference: str
    val_input: str | None = None
    val_reference: str | None = None
    test_input: str | None = None
    test_reference: str | None = None

    name = "pairs"
    title = "pairs of folders"
    protocol = "rgb8"
    homes = ()
    marks = ()
    counts: ClassVar[Counts] = {}
    source = "you"
    licence = "yours"

    def home(self, root: Path | str) -> Path:
        """``root``, where relative folders start."""
        return existing_root(root)

    def rows(self, home: Path) -> Listing:
        """Every pair; no two splits share a scene, because names alone can't tell.

        Raises: :class:`ConfigurationError` when a folder that is set is missing or empty, or has no partner.
        """
        return (
            self._pairs(home, "train", self.train_input, self.train_reference)
            + self._pairs(home, "val", self.val_input, self.val_reference)
            + self._pairs(home, "test", self.test_input, self.test_reference)
        )

    def _pairs(self, home: Path, split: Split, source: str | None, target: str | None) -> Listing:
        key, reference_key = f"data.layout.{split}_input", f"data.layout.{split}_reference"
        if not source and not target and split != "train":
            return Listing()
        inputs = _checked(home, source, key)
        if split == "test" and not target:
            return single_rows(inputs, split, "unknown")
        references = _checked(home, target, reference_key)
        listing = pair_rows(inputs, references, split, "unknown", lambda path: f"{split}/{path.stem}")
        if not listing.rows:
            raise ConfigurationError(
                f"{key} and {reference_key}: no input in {inputs} has the name (without extension) of a "
                f"reference in {references}. Name other folders or rename the files"
            )
        return listing


def _checked(home: Path, folder: str | None, key: str) -> Path:
    """The folder; :class:`ConfigurationError` names ``key`` when it is not set, missing or empty."""
    path = home / Path(folder).expanduser() if folder else None
    return list_photos(path, key)[0].parent

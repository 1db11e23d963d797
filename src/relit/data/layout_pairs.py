"""The pairs of published data sets, and of tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relit.data.duplicates import counted_once
from relit.data.layouts.layout import Layout
from relit.data.leaks import without_leaks
from relit.data.left_out import leave_out
from relit.data.manifest import read_manifest
from relit.data.paired import PairedPhotos, PairSplits
from relit.data.resized import resized_to
from relit.data.rows import SPLITS, Row, Split
from relit.data.sets import PairSet
from relit.data.validation import hold_out_scenes
from relit.errors import ConfigurationError
from relit.protocols import RGB8


class LayoutPairs(PairedPhotos):
    """The pairs of a published data set, or of a manifest in its place.

    Args:
        layout: what the data set looks like on disk.
        root: the folder that holds it; None: the working directory.
        manifest: a file as of :mod:`~relit.data.manifest` that takes the place of the layout; relative to
            ``root``.
        options: those of :class:`PairedPhotos`.
    """

    def __init__(
        self, layout: Layout | None, root: str | None, manifest: str | None = None, **options: Any
    ) -> None:
        protocol = RGB8.name if layout is None else layout.protocol
        super().__init__(**{"protocol": protocol, **options})
        if layout is None and manifest is None:
            raise ConfigurationError("data.layout: neither a layout nor data.manifest is set; choose one")
        self.layout = layout
        self.root = root
        self.manifest = manifest

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
        pairs = PairSet(chosen, self.train_reader if split == "train" else self.test_reader, key)
        usable = pairs.verify(self.strict, decode=False, least=1 if split == "train" else self.least_side)
        if split == "test":
            self.as_published = self.as_published and usable
        return pairs

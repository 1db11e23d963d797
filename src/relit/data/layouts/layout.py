"""What a data set looks like on disk: the base of every layout, and the pair of folders most are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from relit.data.files import match, photos_in
from relit.data.rows import Finding, Listing, Row, Split
from relit.errors import ConfigurationError

SceneOf = Callable[[Path], str]


class Layout(ABC):
    """A published data set: how its files are laid out, and the facts to check them against.

    Subclasses are frozen dataclasses; their fields are what a user may choose.

    Attributes:
        name: on the command line and in ``conf/data``.
        title: in tables.
        protocol: the evaluation protocol that its test split is measured by.
        homes: folders below the root where the data set may lie; the first that holds a mark is taken.
        marks: paths below a home, of which one at least is there.
        counts: photographs by split, as published.
        source: where the data set comes from.
        licence: under which terms, as far as they are published.
        notes: what a user should know before quoting figures on it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    protocol: ClassVar[str]
    homes: ClassVar[tuple[str, ...]]
    marks: ClassVar[tuple[str, ...]]
    counts: ClassVar[Mapping[Split, int]]
    source: ClassVar[str]
    licence: ClassVar[str]
    notes: ClassVar[str] = ""

    @abstractmethod
    def rows(self, home: Path) -> Listing:
        """Every usable row below ``home``, in an order that depends on names alone, and what is unusable."""

    def home(self, root: Path | str) -> Path:
        """The folder of the data set: ``root`` itself or one of :attr:`homes` below it.

        Raises: :class:`ConfigurationError` when none looks like this data set.
        """
        root = Path(root).expanduser()
        if not root.is_dir():
            what = "is not a folder" if root.exists() else "does not exist"
            raise ConfigurationError(f"data.root: {root} {what} (looked for {root.absolute()})")
        for home in (root, *(root / name for name in self.homes)):
            if any((home / mark).exists() for mark in self.marks):
                return home
        looked = " or ".join(str(root / name) for name in ("", *self.homes))
        raise ConfigurationError(
            f"data.root: {root} does not hold {self.title}: no {' or '.join(self.marks)} in {looked}. "
            f"It comes from {self.source}"
        )

    def list(self, root: Path | str) -> Listing:
        """:meth:`rows` of the data set's home below ``root``."""
        return self.rows(self.home(root))


def pair_rows(
    inputs: Path, references: Path, split: Split, label: str, scene: SceneOf = lambda path: path.stem
) -> Listing:
    """Rows of two folders whose files have the same names but for extension and case."""
    missing = missing_folders(inputs, references, split=split)
    if missing:
        return Listing(findings=missing)
    found = match(photos_in(inputs), photos_in(references))
    rows = [Row(source, target, split, label, scene(source)) for source, target in found.pairs]
    return Listing(rows, [Finding("unmatched", str(path), reason) for path, reason in found.unmatched])


def single_rows(folder: Path, split: Split, label: str) -> Listing:
    """Rows of one folder, without references."""
    missing = missing_folders(folder, split=split)
    if missing:
        return Listing(findings=missing)
    return Listing([Row(path, None, split, label, path.stem) for path in photos_in(folder)])


def missing_folders(*folders: Path, split: Split) -> list[Finding]:
    """A finding for each folder that is not there."""
    return [
        Finding("missing", str(folder), f"folder of the {split} split does not exist")
        for folder in folders
        if not folder.is_dir()
    ]

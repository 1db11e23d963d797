"""What a data set looks like on disk: the base of every layout, and the pair of folders most are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from relit.data.files import find_folder, match, photos_in
from relit.data.rows import Finding, Listing, Row, Split
from relit.errors import ConfigurationError

SceneOf = Callable[[Path], str]
Counts = Mapping[Split, int]


class Layout(ABC):
    """A published data set: how its files are laid out, and the facts to check them against.

    Subclasses are frozen dataclasses; their fields are what a user may choose. Folders are found whatever the
    case of their names.

    Attributes:
        name: on the command line and in ``conf/data``.
        title: in tables.
        protocol: the evaluation protocol that its test split is measured by.
        homes: folders below the root where the data set may lie; the first that holds a mark is taken.
        marks: paths below a home, of which one at least is there.
        counts: input photographs by split, as published, where that is known.
        source: where the data set comes from.
        licence: under which terms, as far as they are published.
        notes: what a user should know before quoting figures on it.
        scenes: what numbers its scenes (``fivek``), where other data sets show scenes of the same numbers.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    protocol: ClassVar[str]
    homes: ClassVar[tuple[str, ...]]
    marks: ClassVar[tuple[str, ...]]
    counts: ClassVar[Counts]
    source: ClassVar[str]
    licence: ClassVar[str]
    notes: ClassVar[str] = ""
    scenes: ClassVar[str | None] = None

    @abstractmethod
    def rows(self, home: Path) -> Listing:
        """Every usable row below ``home``, in an order that depends on names alone, and what is unusable."""

    def home(self, root: Path | str) -> Path:
        """The folder of the data set: ``root`` itself or one of :attr:`homes` below it.

        Raises: :class:`ConfigurationError` when none looks like this data set.
        """
        root = existing_root(root)
        for home in (root, *(find_folder(root, name) for name in self.homes)):
            if any(find_folder(home, mark).is_dir() for mark in self.marks):
                return home
        looked = " or ".join(str(root / name) for name in ("", *self.homes))
        raise ConfigurationError(
            f"data.root: {root} does not hold {self.title}: no {' or '.join(self.marks)} in {looked}. "
            f"It comes from {self.source}"
        )

    def list(self, root: Path | str) -> Listing:
        """:meth:`rows` of the data set's home below ``root``; nothing is found twice.

        Raises: :class:`ConfigurationError` when there is none, or a folder can't be read.
        """
        try:
            listing = self.rows(self.home(root))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ConfigurationError(
                f"data.root: {error.filename} can't be read ({reason}): check its permissions"
            ) from error
        return Listing(listing.rows, [*dict.fromkeys(listing.findings)])

    def published(self, home: Path) -> Counts:
        """How many input photographs there should be below ``home``."""
        return self.counts

    def counted(self, row: Row) -> bool:
        """Whether ``row`` is one of those that :attr:`counts` counts."""
        return True

    def found(self, rows: Iterable[Row], split: Split) -> int:
        """How many input photographs of ``split`` there are, copies of photographs included."""
        return len({row.input for row in rows if row.split == split and self.counted(row)})

    def is_complete(self, home: Path, rows: Iterable[Row], split: Split) -> bool:
        """Whether ``split`` has as many input photographs as published: else figures on it are others.

        Args:
            home: of the data set.
            rows: all that can be used, from :meth:`list`; copies of photographs are among the published ones.
            split: one whose published size is not known is never complete.
        """
        return self.found(rows, split) == self.published(home).get(split)

    def files(self, home: Path, rows: Iterable[Row]) -> Sequence[Path]:
        """Every photograph of the data set, each once: those of ``rows``, and what else belongs to it."""
        return list(dict.fromkeys(path for row in rows for path in row.files))

    def whole(self, path: Path) -> Path:
        """What can only be copied as a whole: the photograph ``path`` itself, or a folder that it is in."""
        return path

    def in_manifest(self) -> tuple[Layout, str]:
        """The choice that a manifest holds, and what its user should know where it is not this one."""
        return self, ""


def existing_root(root: Path | str) -> Path:
    """``root`` as a path, home folder resolved.

    Raises: :class:`ConfigurationError` when it is no folder.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise ConfigurationError(
            f"data.root: {root} {what} (looked for {root.absolute()}): "
            "name the folder that holds the data set"
        )
    return root


def pair_rows(
    inputs: Path, references: Path, split: Split, label: str, scene: SceneOf = lambda path: path.stem
) -> Listing:
    """Rows of two folders whose files have the same names but for extension and case.

    Args:
        inputs, references: the folders.
        split, label: of every row.
        scene: tells the scene by an input's name; by default equal names in other splits are the same scene.
    """
    missing = missing_folders(inputs, references, split=split)
    if missing:
        return Listing(findings=missing)
    found = match(photos_in(inputs), photos_in(references))
    listing = Listing([Row(path, target, split, label, scene(path)) for path, target in found.pairs])
    for path, reason in found.unmatched:
        other = inputs if path.parent == references else references
        listing.findings.append(Finding("unmatched", str(path), f"{reason} in {other.name}"))
    return listing


def single_rows(folder: Path, split: Split, label: str) -> Listing:
    """Rows of one folder, without references; each shows a scene of its own."""
    missing = missing_folders(folder, split=split)
    if missing:
        return Listing(findings=missing)
    return Listing(
        [Row(path, None, split, label, f"{split}/{label}/{path.stem}") for path in photos_in(folder)]
    )


def missing_folders(*folders: Path, split: Split) -> list[Finding]:
    """A finding for each folder that is not there or has no photographs."""
    findings = []
    for folder in folders:
        if not folder.is_dir():
            findings.append(Finding("missing", str(folder), f"folder of the {split} split does not exist"))
        elif not photos_in(folder):
            findings.append(Finding("missing", str(folder), f"no photographs of the {split} split in it"))
    return findings

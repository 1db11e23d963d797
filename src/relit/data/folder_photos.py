"""Backlit and well-lit photographs from folders, or from a table."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

from relit.data.datamodule import photo_reader
from relit.data.duplicates import counted_once
from relit.data.files import list_folders, match
from relit.data.layouts import LAYOUTS
from relit.data.leaks import without_leaks
from relit.data.left_out import leave_out
from relit.data.manifest import read_manifest
from relit.data.reader import PhotoReader, Resize
from relit.data.resized import resized_to
from relit.data.rows import Row, Split
from relit.data.sets import Pairs, PairSet, Photos, PhotoSet
from relit.data.unpaired import UnpairedPhotos
from relit.errors import ConfigurationError

# Resized photographs of one role are kept in memory up to this size; larger sets are read each time.
KEPT_BYTES = 2**29


class FolderPhotos(UnpairedPhotos):
    """Photographs from folders, or from a manifest in their place.

    Args:
        backlit: folder of backlit photographs.
        well_lit: folder of well-lit photographs of any other scenes, or a list of folders.
        test_input: folder of test photographs.
        test_reference: folder of their references, with the same file names but for extension and case.
        val_input: folder of validation photographs.
        val_reference: folder of their references.
        manifest: a file as of :mod:`~relit.data.manifest` that takes the place of all folders: training rows
            labelled ``well_lit`` are the well-lit photographs, other training rows the backlit ones.
        root: where relative folders start; None: at the working directory.
        cache: whether decoded training photographs are kept on disk.
        cache_dir: where; needed if ``cache``.
        options: those of :class:`UnpairedPhotos`.
    """

    def __init__(
        self,
        backlit: str | None = None,
        well_lit: str | list[str] | None = None,
        test_input: str | None = None,
        test_reference: str | None = None,
        val_input: str | None = None,
        val_reference: str | None = None,
        manifest: str | None = None,
        root: str | None = None,
        cache: bool = False,
        cache_dir: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if manifest is None and backlit is None and well_lit is None:
            raise ConfigurationError(
                "data.manifest is not set: name a table of photographs with data.manifest=FILE, "
                "or folders with data.backlit=DIR data.well_lit=DIR"
            )
        self.root = root
        self.manifest = manifest
        self.folders = {"backlit": backlit, "well_lit": well_lit}
        self.pair_folders = {"test": (test_input, test_reference), "val": (val_input, val_reference)}
        self._train_reader = photo_reader(Resize(square=self.size), cache, cache_dir)
        self._test_reader = PhotoReader(Resize(square=self.test_size))
        self._val_pairs: PairSet | None = None

    def load(self) -> tuple[Photos, Photos, Pairs | None]:
        """Decode every photograph once; :class:`ConfigurationError` for what cannot be used."""
        # Everything is listed before anything is decoded, so that a wrong path is found at once.
        if self.manifest is None:
            rows = self._listed()
            self._say_what_has_two_roles(rows)
            self.as_published = _is_published(self._protocol.name, _tested(rows))
        else:
            rows = self._tabled(self.manifest)
        lights: dict[str, list[Path]] = {"backlit": [], "well_lit": []}
        for row in rows:
            if row.split == "train":
                lights["well_lit" if row.label == "well_lit" else "backlit"].append(row.input)
        test, self._val_pairs = self._pairs(rows, "test"), self._pairs(rows, "val")
        photos = {name: self._photos(paths, f"data.{name}") for name, paths in lights.items()}
        if self._val_pairs is not None:
            self._val_pairs.verify(self.strict, least=self.least_side)
        if test is not None:
            self.as_published = test.verify(self.strict, least=self.least_side) and self.as_published
        return photos["backlit"], photos["well_lit"], test

    def load_validation(self) -> Pairs | None:
        """The validation pairs, listed and decoded by :meth:`load`."""
        return self._val_pairs

    def _tabled(self, manifest: str) -> list[Row]:
        """The rows of a manifest, whose labels must say which photographs are well lit."""
        if any(self.folders.values()):
            warnings.warn(
                f"data.manifest={manifest} takes the place of data.backlit and all other folders",
                stacklevel=2,
            )
        rows = read_manifest(self._rooted(manifest))
        labels = dict.fromkeys(row.label for row in rows if row.split == "train")
        if "well_lit" not in labels or any(_is_misspelt(label) for label in labels):
            found = ", ".join(label or "none" for label in labels)
            raise ConfigurationError(
                f"data.manifest: {manifest}: training rows of well-lit photographs have the label well_lit, "
                f"all others count as backlit; the labels found are {found or 'none'}: correct them"
            )
        return without_leaks(rows, "data.manifest", self.strict)

    def _say_what_has_two_roles(self, rows: list[Row]) -> None:
        """To enhance the photographs learned from is a fair use; to quote figures on them is not."""
        backlit, well_lit = (
            {row.input for row in rows if row.split == "train" and row.label == label}
            for label in self.folders
        )
        tested = _tested(rows)
        learned_from = [path for path in tested if path in backlit | well_lit]
        if learned_from:
            warnings.warn(
                f"data.test_input: {len(learned_from)} of {len(tested)} photographs are trained on, too, "
                f"such as {learned_from[0].name}: figures on them flatter",
                stacklevel=2,
            )
        if backlit & well_lit:
            warnings.warn(
                f"data.backlit and data.well_lit have {len(backlit & well_lit)} photographs in common: no "
                "prompt can tell them apart",
                stacklevel=2,
            )

    def _listed(self) -> list[Row]:
        """The rows of all folders."""
        rows = [
            Row(path, None, "train", label, str(path))
            for label, folders in self.folders.items()
            for path in list_folders(folders, self.root, f"data.{label}")
        ]
        return rows + self._listed_pairs("test") + self._listed_pairs("val")

    def _listed_pairs(self, split: Split) -> list[Row]:
        source, target = self.pair_folders[split]
        key, reference_key = f"data.{split}_input", f"data.{split}_reference"
        if source is None:
            if target is not None:
                raise ConfigurationError(
                    f"{reference_key} is set but {key} is not: name the folder of the inputs with {key}=DIR"
                )
            return []
        inputs = list_folders(source, self.root, key)
        if target is None:
            return [Row(path, None, split, "backlit", str(path)) for path in inputs]
        references = list_folders(target, self.root, reference_key)
        found = match(inputs, references)
        if not found.pairs:
            raise ConfigurationError(
                f"{key} and {reference_key}: no input has the name (without extension) of a reference: "
                f"{len(inputs)} inputs such as {inputs[0].name}, "
                f"{len(references)} references such as {references[0].name}. "
                "Name another folder or rename the files"
            )
        problems = [f"{path.name} ({reason})" for path, reason in found.unmatched]
        total = len(inputs) + len(references)
        leave_out(f"{key} and {reference_key}", "do not match one to one", problems, total, self.strict)
        return [Row(path, reference, split, "backlit", str(path)) for path, reference in found.pairs]

    def _rooted(self, path: str) -> Path:
        return Path(self.root or "").expanduser() / Path(path).expanduser()

    def _pairs(self, rows: list[Row], split: Split) -> PairSet | None:
        key = "data.manifest" if self.manifest is not None else f"data.{split}_input"
        chosen = counted_once([row for row in rows if row.split == split], key)
        return PairSet(chosen, self._test_reader, key) if chosen else None

    def _photos(self, paths: list[Path], key: str) -> PhotoSet:
        if not paths:
            raise ConfigurationError(
                f"data.manifest: {self.manifest} has no training row for {key}: add some"
            )
        on_disk = self._train_reader.cache is not None
        keep = not on_disk and len(paths) * 3 * self.size**2 <= KEPT_BYTES
        photos = PhotoSet(paths, self._train_reader, keep, key)
        photos.verify(self.strict)
        if len(photos) == 1:
            warnings.warn(
                f"{key}: {paths[0].parent} gives one photograph only: training will fit it and little else",
                stacklevel=2,
            )
        return photos


def _is_misspelt(label: str) -> bool:
    """Whether a label means ``well_lit`` and is not written so: it would count as backlit."""
    return label != "well_lit" and re.sub(r"[^a-z]", "", label.casefold()) == "welllit"


def _tested(rows: list[Row]) -> list[Path]:
    return list(dict.fromkeys(row.input for row in rows if row.split == "test"))


def _is_published(protocol: str, tested: list[Path]) -> bool:
    """Whether so many photographs are tested on as the data set of this name has, at their own size."""
    layout = LAYOUTS.get(protocol)
    return (
        layout is not None
        and len(tested) == layout.counts.get("test")
        and not any(resized_to(folder) for folder in {path.parent for path in tested})
    )

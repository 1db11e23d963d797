"""A data set that is one folder of photographs without references."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from relit.data.files import find_folder, same_name
from relit.data.layouts.layout import Counts, Layout, existing_root, single_rows
from relit.data.rows import Listing, Split
from relit.errors import ConfigurationError


class FlatLayout(Layout):
    """One folder, of one split.

    Attributes:
        folders: the names that it is published under, and how many photographs are in each.
        split: what the photographs may be used for.
        label: how they are lit.
    """

    homes: ClassVar[tuple[str, ...]] = ()
    marks: ClassVar[tuple[str, ...]] = ()
    folders: ClassVar[Mapping[str, int]]
    split: ClassVar[Split]
    label: ClassVar[str]

    def home(self, root: Path | str) -> Path:
        """``root`` itself, if it has one of the names of :attr:`folders`, or the first that is below it.

        Raises: :class:`ConfigurationError` when there is none.
        """
        root = existing_root(root)
        if any(same_name(root.absolute().name) == same_name(name) for name in self.folders):
            return root
        for name in self.folders:
            folder = find_folder(root, name)
            if folder.is_dir():
                return folder
        raise ConfigurationError(
            f"data.root: {root} does not hold {self.title}: no {' or '.join(self.folders)} in it. "
            f"It comes from {self.source}"
        )

    def rows(self, home: Path) -> Listing:
        """Every photograph."""
        return single_rows(home, self.split, self.label)

    def published(self, home: Path) -> Counts:
        """As many as there are under the name of ``home``."""
        named = same_name(home.absolute().name)
        return {self.split: next(n for name, n in self.folders.items() if same_name(name) == named)}

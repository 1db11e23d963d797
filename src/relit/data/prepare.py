"""Data sets made ready for training: fetched where that is allowed, listed in a manifest, reduced in size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from inspect import cleandoc
from pathlib import Path
from typing import NamedTuple

from relit.data.copies import Copies, copy_reduced
from relit.data.div2k_archive import fetch_div2k
from relit.data.layouts.div2k import DIV2K
from relit.data.layouts.flat import FlatLayout
from relit.data.layouts.layout import Layout
from relit.data.manifest import check_manifest, write_manifest
from relit.data.resized import mark_resized
from relit.data.rows import Finding, Row
from relit.errors import ConfigurationError


class Prepared(NamedTuple):
    """What :func:`prepare` made.

    Attributes:
        manifest: the file.
        rows: what it holds.
        faults: files of the data set that can't be in it.
        folder: of the reduced copies.
        copies: what became of them; None where none were asked for.
        note: what the user should know about the choice of photographs.
    """

    manifest: Path
    rows: list[Row]
    faults: list[Finding]
    folder: Path
    copies: Copies | None
    note: str


def prepare(
    layout: Layout,
    root: Path | str,
    long_side: int | None = None,
    manifest: Path | str | None = None,
    progress: bool = False,
) -> Prepared:
    """Write the manifest of a data set; DIV2K is downloaded where it is not there.

    Args:
        layout: which data set.
        root: the folder that holds it.
        long_side: reduced copies of it, with this long side in pixels, go to ``<root>/<name>_<long_side>px``,
            laid out as the data set is and marked as of :mod:`~relit.data.resized`, and the manifest lists
            them.
        manifest: the file to write; by default ``<name>.csv`` or ``<name>_<long_side>px.csv`` in ``root``.
        progress: whether bars on the standard error stream tell how far this is, where that is a terminal.

    Raises:
        ConfigurationError: the data set is not there, and the message says where it is to be had; or the
            manifest can't hold the name of a file.
        OSError: the manifest can't be written; found before the copies are made.
        DownloadFailed: DIV2K can't be downloaded.
        DiskFull: there is not room for the files.
    """
    root = Path(root).expanduser()
    if root.exists() and not root.is_dir():
        raise ConfigurationError(
            f"{root}: is not a folder: name the one that {layout.title} is in or goes to"
        )
    # With the unit no disk takes it for a published folder, such as DIV2K_384 or BAID_380.
    name = layout.name if long_side is None else f"{layout.name}_{long_side}px"
    path = Path(manifest).expanduser() if manifest else root / f"{name}.csv"
    check_manifest(path)
    layout, note = layout.in_manifest()
    if isinstance(layout, DIV2K):
        home, note = fetch_div2k(layout, root, progress)
    else:
        home = find_home(layout, root)
    listing = layout.list(home)
    rows, copies = listing.rows, None
    if not rows:
        raise ConfigurationError(f"{home}: has no usable photograph: ask relit data verify {layout.name} why")
    check_manifest(path, rows)
    if long_side is not None:
        # One folder of photographs is known by its name.
        folder = root / name / (home.absolute().name if isinstance(layout, FlatLayout) else "")
        mark_resized(root / name, layout.name, long_side)
        files = layout.files(home, rows)
        copies = copy_reduced(files, home, folder, long_side, layout.whole, progress)
        rows = _copied(rows, copies)
    write_manifest(path, rows)
    return Prepared(path, rows, [one for one in listing.findings if one.fault], root / name, copies, note)


def find_home(layout: Layout, root: Path | str) -> Path:
    """The folder of the data set below ``root``.

    Raises: :class:`ConfigurationError` when it is not there, which says where to get it and how it lies.
    """
    try:
        return layout.home(root)
    except ConfigurationError as error:
        message = str(error).removeprefix("data.root: ")
        folders = cleandoc(type(layout).__doc__ or "").partition("\n\n")[0]
        lines = [message, f"  folders  {' '.join(folders.replace('``', '').split())}"]
        if layout.source not in message:
            lines.append(f"  source   {layout.source}")
        lines.append(f"  licence  {layout.licence}")
        raise ConfigurationError("\n".join(lines)) from error


def _copied(rows: Sequence[Row], copies: Copies) -> list[Row]:
    """Rows of copies, but for those of which a file could not be copied."""
    return [
        replace(
            row,
            input=copies.paths[row.input],
            reference=None if row.reference is None else copies.paths[row.reference],
        )
        for row in rows
        if not any(path in copies.failed for path in row.files)
    ]

"""Manifests: a data set as a table of files, CSV or Parquet.

The columns are ``input`` (needed), ``reference``, ``split``, ``label`` and ``scene``. Paths start at the
manifest's folder unless they are absolute. An empty reference is none, an empty split is ``train``, and
without a scene each input is a scene of its own.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from relit.atomic import atomic_write, check_writable
from relit.data.few import few
from relit.data.rows import SPLITS, Row
from relit.errors import ConfigurationError

COLUMNS = ("input", "reference", "split", "label", "scene")


class _Line(NamedTuple):
    """One row as it is written: where it stands (``line 3``), and its cells by column."""

    where: str
    cells: dict[str, str]


def read_manifest(path: Path | str) -> list[Row]:
    """The rows of a manifest, in its order; every file it names exists.

    Args:
        path: ends in ``.csv`` (UTF-8, separated by commas, with a header) or ``.parquet``.

    Raises: :class:`ConfigurationError`, which names the manifest, the line and what to change.
    """
    path = Path(path)
    if not path.is_file():
        what = "is not a file" if path.exists() else "no such manifest"
        raise ConfigurationError(f"{path}: {what} (looked for {path.absolute()})")
    lines = _parquet_lines(path) if _is_parquet(path) else _csv_lines(path)
    if not lines:
        raise ConfigurationError(f"{path}: has no rows: add one line for each photograph below the header")
    rows = [_row(path, line) for line in lines]
    _check_files(path, lines, rows)
    return rows


def write_manifest(path: Path | str, rows: Iterable[Row]) -> None:
    """Write rows to a manifest, whole or not at all; :func:`read_manifest` gives the same rows.

    Args:
        path: ends in ``.csv`` or ``.parquet``. Files below its folder are written relative to it, so both can
            be moved together; others are written as absolute paths.
        rows: with relative paths from the working directory, as everywhere.

    Raises: :class:`ConfigurationError` for another ending or for a file name that is no Unicode text: it
        names the row, counted from 1.
    """
    path = Path(path)
    folder = _absolute(path.parent)
    table = [
        (
            _written(row.input, folder),
            "" if row.reference is None else _written(row.reference, folder),
            row.split,
            row.label,
            row.scene,
        )
        for row in rows
    ]
    _check_texts(path, table)
    atomic_write(path, _parquet(table) if _is_parquet(path) else _csv(table))


def check_manifest(path: Path, rows: Sequence[Row] = ()) -> None:
    """Raise, before long work that ends in a manifest, what :func:`write_manifest` would raise after it.

    Args:
        path: the manifest.
        rows: those that are known already.
    """
    if _is_parquet(path):
        _pyarrow()
    check_writable(path)
    _check_texts(path, [[str(file) for file in row.files] for row in rows])


def _check_texts(path: Path, table: Iterable[Sequence[str]]) -> None:
    for number, cells in enumerate(table, start=1):
        for cell in cells:
            try:
                cell.encode()
            except UnicodeEncodeError as error:
                raise ConfigurationError(
                    f"{path}, row {number}: cannot hold {cell!r}, which is no Unicode text: rename the file"
                ) from error


def _is_parquet(path: Path) -> bool:
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise ConfigurationError(f"{path}: a manifest's name ends in .csv or .parquet: rename it")
    return path.suffix.lower() == ".parquet"


def _csv_lines(path: Path) -> list[_Line]:
    try:
        # utf-8-sig: Excel puts a byte order mark in front
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_columns(path, header)
            lines = []
            for cells in reader:
                if not cells:
                    continue
                where = f"line {reader.line_num}"
                if len(cells) != len(header):
                    raise ConfigurationError(
                        f"{path}, {where}: {len(cells)} cells under {len(header)} columns: "
                        'write one for each column, with "" around a cell that holds a comma'
                    )
                lines.append(_Line(where, dict(zip(header, cells, strict=True))))
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is not UTF-8 text: save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise ConfigurationError(f"{path}, line {reader.line_num}: {error}: correct the line") from error
    return lines


def _csv(table: Sequence[tuple[str, ...]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *table])
    return text.getvalue().encode()


def _parquet_lines(path: Path) -> list[_Line]:
    parquet = _pyarrow(path)
    import pyarrow

    try:
        table = parquet.ParquetFile(path).read()
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise ConfigurationError(f"{path}: is not a Parquet file ({error}): write it again") from error
    _check_columns(path, table.column_names)
    return [
        _Line(f"row {number}", {name: "" if value is None else str(value) for name, value in cells.items()})
        for number, cells in enumerate(table.to_pylist(), start=1)
    ]


def _parquet(table: Sequence[tuple[str, ...]]) -> bytes:
    parquet = _pyarrow()
    import pyarrow

    columns = zip(*table, strict=True) if table else [()] * len(COLUMNS)
    arrays = [pyarrow.array(column, pyarrow.string()) for column in columns]
    content = io.BytesIO()
    parquet.write_table(pyarrow.table(arrays, names=COLUMNS), content)
    return content.getvalue()


def _pyarrow(path: Path | None = None) -> ModuleType:
    """``pyarrow.parquet``, which is an extra because CSV does without."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        which = f"{path}: " if path else ""
        raise ConfigurationError(
            f"{which}Parquet manifests need pyarrow: pip install 'relit[parquet]', or use .csv"
        ) from error
    return parquet


def _check_columns(path: Path, names: Sequence[str]) -> None:
    if not any(names):
        raise ConfigurationError(f"{path}: is empty: begin it with the header {','.join(COLUMNS)}")
    if len(names) == 1 and ";" in names[0]:
        raise ConfigurationError(f"{path}: is separated by semicolons: save it with commas")
    for name in names:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name.lower(), COLUMNS, 1)
            meant = f"did you mean {near[0]!r}?" if near else "remove or rename it."
            raise ConfigurationError(
                f"{path}: unknown column {name!r}: {meant} The columns are {', '.join(COLUMNS)}"
            )
        if names.count(name) > 1:
            raise ConfigurationError(f"{path}: two columns are named {name!r}: remove or rename one")
    if "input" not in names:
        raise ConfigurationError(f"{path}: has no column 'input': add one with the photographs' paths")


def _row(path: Path, line: _Line) -> Row:
    cells = line.cells
    if not cells["input"]:
        raise ConfigurationError(f"{path}, {line.where}: the input is empty: write a photograph's path")
    written = cells.get("split") or "train"
    split = next((known for known in SPLITS if known == written), None)
    if split is None:
        raise ConfigurationError(
            f"{path}, {line.where}: no split is called {written!r}: write one of {', '.join(SPLITS)}"
        )
    reference = cells.get("reference")
    return Row(
        path.parent / cells["input"],
        path.parent / reference if reference else None,
        split,
        cells.get("label", ""),
        cells.get("scene") or cells["input"].removesuffix(Path(cells["input"]).suffix),
    )


def _check_files(path: Path, lines: Sequence[_Line], rows: Sequence[Row]) -> None:
    missing = [
        f"{file} ({line.where})"
        for line, row in zip(lines, rows, strict=True)
        for file in (row.input, row.reference)
        if file is not None and not file.is_file()
    ]
    if missing:
        raise ConfigurationError(
            f"{path}: {len(missing)} of the files it names do not exist: {few(missing, most=3)}. "
            "Relative paths start at the manifest's folder; correct them or move the files"
        )


def _written(file: Path, folder: Path) -> str:
    absolute = _absolute(file)
    return (absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute).as_posix()


def _absolute(path: Path) -> Path:
    """From the root and without ``..``; links stay as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (Path.resolve would follow links)

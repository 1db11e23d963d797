"""``relit data``: which data sets are known, whether one is whole, and making it ready for training."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from relit.data.few import few
from relit.errors import ConfigurationError

if TYPE_CHECKING:
    from relit.data.layouts.layout import Layout
    from relit.data.rows import Row

FAULTS_SHOWN = 5


def add_data(commands: argparse._SubParsersAction) -> None:
    """Add ``data`` and its own commands."""
    parser = commands.add_parser(
        "data",
        help="list the known data sets, verify one, prepare one for training",
        description="Data sets that Relit trains and tests on: their names, whether a copy of one is whole "
        "and as published, and manifests and reduced copies of them.",
    )
    own = parser.add_subparsers(dest="data_command", metavar="COMMAND", required=True)
    _add_list(own)
    _add_verify(own)
    _add_prepare(own)


def _add_list(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "list",
        help="names, sizes and origin of the known data sets",
        description="Print the known data sets: their name for the other commands, how many photographs are "
        "published for training, validation and testing, by which protocol figures are measured, which "
        "configuration trains on them, and where they come from.",
    )
    parser.set_defaults(run=_list, command="data list")


def _add_verify(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "verify",
        help="check that a data set is whole and as published",
        description="Look for missing, surplus, unreadable, mismatched and copied photographs and for scenes "
        "that are in two splits. Exit status: 0 without faults, 1 with faults, 2 when the data set is not "
        "there or the report can't be written.",
    )
    _add_name_and_root(parser)
    parser.add_argument(
        "--deep", action="store_true", help="decode every photograph instead of reading its header and end"
    )
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="also look for scenes shared with this data set in DIR; may be repeated",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="where the report goes (default: NAME.verify.json in the working directory)",
    )
    parser.set_defaults(run=_verify, command="data verify")


def _add_prepare(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "prepare",
        help="write a data set's manifest, and reduced copies of it; download DIV2K",
        description="Write the manifest of a data set: a table of its photographs, references, splits, "
        "labels and scenes. DIV2K is downloaded (3.5 GB) and unpacked unless all of it is there, which needs "
        "about 7 GB of disk; other data sets must be there, and the command says where they come from. The "
        "same command goes on after an interruption. Exit status: 0 when all is done, 1 when folders of "
        "the data set are missing or photographs could not be copied, 2 when the data set is not there "
        "or nothing can be written.",
    )
    _add_name_and_root(parser)
    parser.add_argument(
        "--size",
        type=_positive,
        metavar="N",
        help="write PNG copies with a long side of at most N pixels to DIR/NAME_Npx, laid out as the data "
        "set is, and a manifest of them",
    )
    parser.add_argument(
        "--manifest",
        type=Path,
        metavar="FILE",
        help="the manifest to write, .csv or .parquet (default: DIR/NAME.csv, with --size DIR/NAME_Npx.csv)",
    )
    parser.set_defaults(run=_prepare, command="data prepare")


def _add_name_and_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the data set, see: relit data list")
    parser.add_argument("--root", required=True, type=Path, metavar="DIR", help="the folder that holds it")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of pixels")
    return int(text)


def _list(_: argparse.Namespace) -> None:
    from relit.data.layouts_table import layouts_table

    print(layouts_table())


def _verify(options: argparse.Namespace) -> int:
    from relit.atomic import atomic_write, check_writable
    from relit.data.findings_table import findings_table
    from relit.data.layouts import find_layout
    from relit.data.prepare import find_home
    from relit.data.verify import verify

    layout = find_layout(options.name)
    path: Path = options.json or Path(f"{layout.name}.verify.json")
    if path.is_dir():
        raise ConfigurationError(f"--json {path}: is a folder; give the name of a file in it")
    against = [_named_root(pair) for pair in options.against]
    for one, root in [(layout, options.root), *against]:
        find_home(one, root)
    try:
        check_writable(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigurationError(
            f"{path}: the report can't be written ({reason}): name another file with --json FILE"
        ) from error
    report = verify(layout, options.root, options.deep, against, progress=sys.stderr.isatty())
    atomic_write(path, json.dumps(report.as_dict(), indent=2).encode())
    print(findings_table(report))
    print(f"report: {path}")
    return 1 if report.faults else 0


def _named_root(pair: str) -> tuple[Layout, Path]:
    """The data set and the folder of ``NAME=DIR``."""
    from relit.data.layouts import find_layout

    name, _, root = pair.partition("=")
    if not root:
        raise ConfigurationError(f"--against {pair}: write NAME=DIR, such as lcdp=data")
    return find_layout(name), Path(root)


def _prepare(options: argparse.Namespace) -> int:
    from relit.data.layouts import find_layout
    from relit.data.prepare import prepare

    layout = find_layout(options.name)
    prepared = prepare(layout, options.root, options.size, options.manifest, sys.stderr.isatty())
    print(f"{prepared.manifest}: {_counts(prepared.rows)}")
    if prepared.note:
        print(prepared.note)
    if prepared.faults:
        number = f"{len(prepared.faults):,} fault{'' if len(prepared.faults) == 1 else 's'}"
        ask = f"relit data verify {layout.name} --root {options.root}"
        print(f"photographs are left out for {number} of the data set (files were not opened), see: {ask}")
        for fault in prepared.faults[:FAULTS_SHOWN]:
            print(f"  {fault.kind}  {fault.where}: {fault.message}")
    # a table without a whole folder of the data set is not what was asked for
    lacking = any(fault.kind == "missing" for fault in prepared.faults)
    if prepared.copies is None:
        return 1 if lacking else 0
    paths, made, failed = prepared.copies
    print(f"{prepared.folder}: {made:,} copies written, {len(paths) - made:,} were there already")
    if failed:
        _complain(failed)
    return 1 if failed or lacking else 0


def _counts(rows: Sequence[Row]) -> str:
    """How many rows there are, in all and of each split."""
    splits = Counter(row.split for row in rows)
    return f"{len(rows):,} rows, {', '.join(f'{count:,} {split}' for split, count in splits.items())}"


def _complain(failed: Mapping[Path, str]) -> None:
    named = few([f"{path} ({reason})" for path, reason in failed.items()])
    print(f"relit data prepare: {len(failed):,} photographs not copied: {named}", file=sys.stderr)

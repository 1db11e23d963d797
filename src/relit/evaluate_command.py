"""``relit evaluate``: results compared with references."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from relit.data.few import few
from relit.errors import ConfigurationError
from relit.protocols import PROTOCOLS, RGB8, Protocol, find_protocol


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    """Add ``evaluate``."""
    parser = commands.add_parser(
        "evaluate",
        help="PSNR and SSIM of results against references",
        description="Compare the photographs in a folder, and in all folders below it, with references of "
        "the same names; extensions and case may differ. Exit status: 0 when all were compared, 1 when files "
        "had no partner, 2 when nothing can be compared.",
    )
    parser.add_argument("--pred", required=True, type=Path, metavar="DIR", help="the results")
    parser.add_argument("--gt", required=True, type=Path, metavar="DIR", help="the references")
    parser.add_argument(
        "--protocol",
        default=RGB8.name,
        metavar="NAME",
        help="the recipe that the figures are named by; photographs are compared at the size they have: "
        f"{', '.join(PROTOCOLS)} (default: {RGB8.name})",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where the figures of all images go, with the protocol"
    )
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    protocol = _protocol(options.protocol)
    if options.json is not None:
        _check_writable(options.json)
    from relit.atomic import atomic_write
    from relit.folder_scores import score_folders

    found = score_folders(options.pred, options.gt, progress=sys.stderr.isatty())
    print(found.table(protocol))
    if options.json is not None:
        report = {"pred": str(options.pred), "gt": str(options.gt), **found.report(protocol)}
        atomic_write(options.json, json.dumps(report, indent=2, allow_nan=False).encode())
        print(f"figures: {options.json}")
    if found.unmatched:
        named = few([f"{path} ({reason})" for path, reason in found.unmatched])
        print(f"relit evaluate: {len(found.unmatched):,} files without a partner: {named}", file=sys.stderr)
    return 1 if found.unmatched else 0


def _protocol(name: str) -> Protocol:
    try:
        return find_protocol(name)
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace("data.protocol", "--protocol", 1)) from error


def _check_writable(path: Path) -> None:
    from relit.atomic import check_writable

    if path.is_dir():
        raise ConfigurationError(f"--json {path}: is a folder. Give the name of a file in it.")
    check_writable(path)

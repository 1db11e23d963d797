"""``relit evaluate``: results compared with references, and methods with each other."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from relit.data.few import few
from relit.errors import ConfigurationError
from relit.protocols import PROTOCOLS, REFERENCED, RGB8, Protocol, find_protocol

if TYPE_CHECKING:
    from relit.comparison import Comparison
    from relit.measurement import Measurement


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    """Add ``evaluate``."""
    parser = commands.add_parser(
        "evaluate",
        help="measure results against references, by a named protocol",
        description="Compare the photographs in a folder, and in all folders below it, with references of "
        "the same names; extensions and case may differ. Of several folders of results, only photographs "
        "that all of them have are compared. Exit status: 0 when all were compared, 1 when files had no "
        "partner or could not be compared, or a metric that --metrics names is unavailable, 2 when nothing "
        "can be compared.",
    )
    parser.add_argument(
        "--pred",
        required=True,
        action="append",
        metavar="[NAME=]DIR",
        help="the results of a method; give it again for another one",
    )
    parser.add_argument("--gt", type=Path, metavar="DIR", help="the references")
    parser.add_argument(
        "--protocol",
        default=RGB8.name,
        metavar="NAME",
        help="the recipe: which metrics, of which images, in which size and colours: "
        f"{', '.join(PROTOCOLS)} (default: {RGB8.name})",
    )
    parser.add_argument(
        "--metrics",
        metavar="NAMES",
        help="psnr, ssim, lpips and musiq, with commas between them (default: those of the protocol). LPIPS "
        "and MUSIQ fetch weights once; MUSIQ needs the extra musiq (pyiqa), whose licence, PolyForm "
        "Noncommercial, forbids commercial use",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="where all figures go, with the protocol; a file of that name is replaced",
    )
    parser.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="where the figures of each image go, with the protocol's name; likewise",
    )
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    protocol = _protocol(options.protocol)
    for option in ("json", "csv"):
        _check_writable(f"--{option}", getattr(options, option))
    if options.json is not None and options.json == options.csv:
        raise ConfigurationError(f"--json and --csv: both name {options.csv}. Give two files.")
    folders = _methods(options.pred)
    metrics = _metrics(options.metrics, protocol)
    _check_references(options.gt, metrics, protocol)
    from relit.comparison import compare
    from relit.comparison_report import table
    from relit.data.photo_tree import photos_below

    for folder in folders.values():
        photos_below(folder)  # a mistyped one is told before weights of metrics are fetched
    measurement = _measurement(protocol, metrics)
    references = options.gt if measurement.needs_references else None
    found = compare(folders, references, measurement, progress=sys.stderr.isatty())
    print(table(found))
    _write(found, options.json, options.csv)
    _complain(found)
    asked_in_vain = options.metrics is not None and bool(found.unavailable)
    return 0 if found.complete and not asked_in_vain else 1


def _measurement(protocol: Protocol, metrics: Sequence[str]) -> Measurement:
    import torch

    from relit.measurement import Measurement

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    measurement = Measurement(protocol, metrics, device)
    if not measurement.metrics:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in measurement.unavailable.items())
        raise ConfigurationError(f"no metric is available. {reasons}")
    return measurement


def _protocol(name: str) -> Protocol:
    try:
        return find_protocol(name)
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace("data.protocol", "--protocol", 1)) from error


def _methods(given: Sequence[str]) -> dict[str, Path]:
    """Folders of results by the names of their methods: the folder as given, where there is no other."""
    folders: dict[str, Path] = {}
    for value in given:
        name, separator, folder = value.partition("=")
        if not separator or Path(value).is_dir():
            name, folder = value, value
        if not name or not folder:
            raise ConfigurationError(f"--pred {value}: expected DIR or NAME=DIR.")
        if name in folders:
            raise ConfigurationError(f"--pred {value}: two methods are named {name!r}. Give NAME=DIR.")
        folders[name] = Path(folder)
    return folders


def _metrics(given: str | None, protocol: Protocol) -> list[str]:
    if given is None:
        return list(protocol.metrics)
    from relit.measures import MEASURABLE

    names = list(dict.fromkeys(name.strip().lower() for name in given.split(",")))
    unknown = [name for name in names if name not in MEASURABLE]
    if unknown:
        raise ConfigurationError(f"--metrics: no metric {unknown[0]!r}. There are {', '.join(MEASURABLE)}.")
    return names


def _check_references(references: Path | None, metrics: Sequence[str], protocol: Protocol) -> None:
    compared = [name for name in metrics if name in REFERENCED]
    if compared and REFERENCED.isdisjoint(protocol.metrics):
        raise ConfigurationError(
            f"--metrics {compared[0]}: protocol {protocol.name} has no references. Leave it out, or choose "
            "another protocol."
        )
    if compared and references is None:
        raise ConfigurationError(f"--gt: {' and '.join(compared)} need the folder of references.")
    if references is not None and not compared:
        raise ConfigurationError("--gt: none of the metrics compares with references. Leave it out.")


def _check_writable(option: str, path: Path | None) -> None:
    from relit.atomic import check_writable

    if path is None:
        return
    if path.is_dir():
        raise ConfigurationError(f"{option} {path}: is a folder. Give the name of a file in it.")
    check_writable(path)


def _write(found: Comparison, json_file: Path | None, csv_file: Path | None) -> None:
    from relit.atomic import atomic_write
    from relit.comparison_report import as_csv, report

    if json_file is not None:
        atomic_write(json_file, json.dumps(report(found), indent=2, allow_nan=False).encode())
        print(f"figures: {json_file}")
    if csv_file is not None:
        # a name that is no text in any encoding must not cost the figures
        atomic_write(csv_file, as_csv(found).encode(errors="backslashreplace"))
        print(f"figures of each image: {csv_file}")


def _complain(found: Comparison) -> None:
    """Name on the standard error stream what was not compared."""
    for what, kind in (("without a partner", "unmatched"), ("left out", "left_out")):
        files = {file: reason for method in found.methods.values() for file, reason in getattr(method, kind)}
        if files:
            named = few([f"{path} ({reason})" for path, reason in files.items()])
            count = f"{len(files):,} file{'' if len(files) == 1 else 's'}"
            print(f"relit evaluate: {count} {what}: {named}", file=sys.stderr)
    for method in found.methods.values():
        for fault in method.faults:
            print(f"relit evaluate: {method.folder}: {fault}", file=sys.stderr)

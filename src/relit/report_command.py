"""``relit report``: a page about a run, or one that compares several."""

from __future__ import annotations

import argparse
from pathlib import Path

from relit.errors import ConfigurationError


def add_report(commands: argparse._SubParsersAction) -> None:
    """Add ``report``."""
    parser = commands.add_parser(
        "report",
        help="write a self-contained HTML page about a run, or one that compares several",
        description="Write report.html into each run's directory: figures with their protocol, training "
        "curves, sample photographs to compare by a slider, and the configuration. With -o, one page that "
        "compares the runs. The pages need no other file and no network.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's directory")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="one page of all runs (.html); replaced"
    )
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> None:
    from relit.atomic import check_writable

    if options.output is not None:
        if options.output.suffix.lower() not in (".html", ".htm"):
            raise ConfigurationError(f"{options.output}: expected a name that ends in .html.")
        check_writable(options.output)
    from relit.report.page import PAGE_FILE, write_page

    if options.output is not None:
        write_page(options.runs, options.output)
        print(options.output)
        return
    for run in options.runs:
        write_page([run], run / PAGE_FILE)
        print(run / PAGE_FILE)

"""``relit figure``: figures of finished runs."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from relit.errors import ConfigurationError

FORMATS = ("png", "svg", "pdf")


def add_figure(commands: argparse._SubParsersAction) -> None:
    """Add ``figure``."""
    parser = commands.add_parser(
        "figure",
        help="draw a figure of one run or of several",
        description="Draw a figure. losses: the loss curves of each stage; several runs, such as the seeds "
        "of one experiment, are drawn into one.",
    )
    parser.add_argument("name", choices=("losses",), help="which figure")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's directory")
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help=f"of {', '.join(FORMATS)}; replaced"
    )
    parser.set_defaults(run=_figure)


def _figure(options: argparse.Namespace) -> None:
    from relit.atomic import atomic_write, check_writable

    kind = options.output.suffix[1:].lower()
    if kind not in FORMATS:
        raise ConfigurationError(
            f"{options.output}: expected a name that ends in one of {', '.join(FORMATS)}."
        )
    check_writable(options.output)
    from relit.figures import FIGURES

    buffer = io.BytesIO()
    FIGURES[options.name](options.runs).savefig(buffer, format=kind, dpi=130)
    atomic_write(options.output, buffer.getvalue())
    print(options.output)

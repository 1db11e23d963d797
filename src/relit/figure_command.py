"""``relit figure``: figures of finished runs."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from relit.errors import ConfigurationError
from relit.figure.registry import FIGURES

FORMATS = ("png", "svg", "pdf")


def add_figure(commands: argparse._SubParsersAction) -> None:
    """Add ``figure``."""
    width = max(len(name) for name in FIGURES)
    listed = "\n".join(
        f"  {name:{width}}  {known.shows}{'' if known.method is None else f' [{known.method}]'}"
        for name, known in FIGURES.items()
    )
    parser = commands.add_parser(
        "figure",
        help="draw a figure of one run or of several",
        description="Draw a figure of a finished run, or of several. Data and networks are built as the "
        "run's config.yaml says, so give it runs that you trust.",
        epilog=f"figures:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=tuple(FIGURES), metavar="NAME", help="which figure, see below")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's directory")
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help=f"of {', '.join(FORMATS)}; replaced"
    )
    parser.add_argument(
        "--photo",
        action="append",
        dest="photos",
        metavar="NAME",
        help="a photograph to show, named as in the run's samples or scores.csv; may be given several times "
        "(default: a few, spread over all)",
    )
    parser.add_argument(
        "--imagenet",
        metavar="FILE",
        help="distance: weights of timm's vit_base_patch32_224, where they can't be fetched; none leaves the "
        "ImageNet ViT out",
    )
    parser.set_defaults(run=_figure)


def _figure(options: argparse.Namespace) -> None:
    from relit.atomic import atomic_write, check_writable
    from relit.figure.registry import draw

    kind = options.output.suffix[1:].lower()
    if kind not in FORMATS:
        raise ConfigurationError(
            f"{options.output}: expected a name that ends in one of {', '.join(FORMATS)}."
        )
    check_writable(options.output)
    figure = draw(options.name, options.runs, photos=options.photos, imagenet=options.imagenet)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=130, bbox_inches="tight")  # with its foot
    atomic_write(options.output, buffer.getvalue())
    print(options.output)

"""Options that several commands take."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_weights(parser: argparse.ArgumentParser) -> None:
    """``--weights``: a trained method."""
    parser.add_argument(
        "--weights",
        required=True,
        type=Path,
        metavar="FILE",
        help="weights.safetensors of a run's directory, or what relit import wrote",
    )


def add_clip(parser: argparse.ArgumentParser) -> None:
    """``--clip``: where the weights of a method's CLIP are."""
    parser.add_argument(
        "--clip",
        type=Path,
        metavar="FILE",
        help="the weights of the CLIP that CLIP-RestoreX's priors come from, where they can't be had by name",
    )


def add_output(parser: argparse.ArgumentParser, what: str) -> None:
    """``--output`` and ``--force``, as :func:`relit.output_file.check_output` takes them."""
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help=what)
    parser.add_argument("--force", action="store_true", help="replace the output if it exists")

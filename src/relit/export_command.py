"""``relit export``: trained weights as one function in a file that needs no Relit."""

from __future__ import annotations

import argparse

from relit.command_options import add_clip, add_output, add_weights
from relit.errors import ConfigurationError

SUFFIXES = (".pt2", ".onnx")


def add_export(commands: argparse._SubParsersAction) -> None:
    """Add ``export``."""
    parser = commands.add_parser(
        "export",
        help="turn trained weights into a .pt2 or .onnx file that runs without Relit",
        description="Write trained weights as one function, from photographs (B, 3, H, W) in [0, 1] to "
        "results of the same shape, with any B, H and W: sides from 2 pixels, or from 9 where the network "
        "halves them three times. The file is loaded again and kept only if its results are those of the "
        "weights. Nothing is streamed, so large photographs need more memory than with relit enhance.",
    )
    add_weights(parser)
    add_output(parser, "the file to write; .pt2 for PyTorch, .onnx for ONNX Runtime and others")
    add_clip(parser)
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from relit.output_file import check_output

    suffix = options.output.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigurationError(
            f"{options.output}: expected a name that ends in one of {', '.join(SUFFIXES)}."
        )
    check_output(options.output, options.force)
    import torch

    from relit.atomic import atomic_write
    from relit.export.verified import exported
    from relit.method import load_method
    from relit.weights import read_weights

    method = load_method(options.weights, torch.device("cpu"), options.clip)
    _, metadata = read_weights(options.weights)
    content, difference = exported(method, metadata, suffix)
    atomic_write(options.output, content)
    print(
        f"{options.output}: {method.name}, {len(content) / 1e6:,.1f} MB; results differ from those of the "
        f"weights by {difference:.1e} at most"
    )

"""``relit enhance``: trained weights applied to photographs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from relit.command_options import add_clip, add_weights
from relit.enhance_plan import Planned, plan_results, without_existing
from relit.errors import ConfigurationError
from relit.photo_file.formats import FORMATS

if TYPE_CHECKING:
    import torch


LEAST_TILE = 16
"""Of ``--tile``: smaller ones save no memory, and most of the time goes into what tiles share."""


def add_enhance(commands: argparse._SubParsersAction) -> None:
    """Add ``enhance``."""
    parser = commands.add_parser(
        "enhance",
        help="apply trained weights to photographs",
        description="Enhance photographs and write each result under the same name, in the same format "
        "(BMP: PNG), size, depth and colour profile, with its alpha, EXIF and XMP. Folders are searched with "
        "all folders below them, which are made again in DIR. Exit status: 0 when all is done, 1 when "
        "photographs were left out because they can't be read or written or do not fit into memory, 2 when "
        "nothing can be done.",
    )
    parser.add_argument(
        "photos",
        nargs="+",
        type=Path,
        metavar="PHOTO",
        help="a photograph, a folder of them, or a quoted pattern such as 'in/**/*.jpg'",
    )
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="DIR", help="the folder that results go to"
    )
    add_weights(parser)
    add_clip(parser)
    parser.add_argument(
        "--strength",
        type=float,
        default=1.0,
        metavar="S",
        help="0 leaves a photograph as it is, 1 is the whole result (default: 1)",
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="CLIP-LIT: the illumination map of a reduced photograph, brought back along its edges; much "
        "faster, and close to the exact result",
    )
    parser.add_argument(
        "--tile",
        type=int,
        metavar="N",
        help="side in pixels of the tiles that CLIP-LIT computes large photographs in, or rows of "
        f"CLIP-RestoreX's strips, from {LEAST_TILE}: smaller ones take less memory, the result is the same",
    )
    parser.add_argument(
        "--max-pixels",
        type=int,
        metavar="N",
        help="leave out files of more pixels, which may be made to fill the memory (default: 178,956,970)",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to compute (default: auto, a GPU where there is one)",
    )
    parser.add_argument(
        "--precision",
        choices=("32", "bf16", "16"),
        default="32",
        help="bits that networks compute in: bf16 and 16 are faster on a GPU, with results a grey level or "
        "two away (default: 32)",
    )
    parser.add_argument(
        "--batch",
        type=int,
        default=1,
        metavar="N",
        help="compute up to N photographs at once where they follow each other and have the same size; on a "
        "GPU many small ones are faster so (default: 1)",
    )
    _add_results(parser)
    parser.set_defaults(run=_enhance)


def _add_results(parser: argparse.ArgumentParser) -> None:
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--force", action="store_true", help="replace results that exist")
    existing.add_argument(
        "--resume",
        action="store_true",
        help="skip photographs that are done, whatever weights and options did it",
    )
    parser.add_argument(
        "--format",
        choices=("same", *FORMATS),
        default="same",
        help="of results (default: the photograph's own)",
    )
    parser.add_argument("--quality", type=int, metavar="N", help="of JPEG and WebP, 1 to 100 (default: 95)")
    parser.add_argument(
        "--compare", action="store_true", help="also write NAME-compare: the photograph beside its result"
    )


def _enhance(options: argparse.Namespace) -> int:
    _check_numbers(options)
    planned = plan_results(options.photos, options.output, options.format, options.compare)
    if options.quality is not None and not any(FORMATS[one.format].lossy for one in planned):
        raise ConfigurationError("--quality: no result is a JPEG or WebP file. Leave it out.")
    to_do = without_existing(planned, options.resume, options.force)
    _tell_others(options.photos)
    left_out = _write(options, to_do) if to_do else 0
    done, skipped = len(to_do) - left_out, len(planned) - len(to_do)
    said = f"{options.output}: {done:,} photograph{'' if done == 1 else 's'} enhanced"
    said += f", {skipped:,} skipped that had a result" if skipped else ""
    said += f", {left_out:,} left out" if left_out else ""
    print(said)
    return 1 if left_out else 0


def _tell_others(named: Sequence[Path]) -> None:
    """Name photographs in folders that no run will enhance."""
    from relit.data.photo_tree import others_below

    for folder in (name for name in named if name.is_dir()):
        kinds = [f"{count:,} {kind}" for kind, count in others_below(folder).items()]
        if kinds:
            said = f"{folder}: {', '.join(kinds)} not read; convert them to JPEG, PNG or TIFF first"
            print(f"relit enhance: {said}", file=sys.stderr)


def _check_numbers(options: argparse.Namespace) -> None:
    if not 0 <= options.strength <= 1:
        raise ConfigurationError(f"--strength {options.strength:g}: give a number from 0 to 1.")
    if options.quality is not None and not 1 <= options.quality <= 100:
        raise ConfigurationError(f"--quality {options.quality}: give a number from 1 to 100.")
    if options.tile is not None and options.tile < LEAST_TILE:
        raise ConfigurationError(f"--tile {options.tile}: give a number from {LEAST_TILE}.")
    if options.batch < 1:
        raise ConfigurationError(f"--batch {options.batch}: give a number above 0.")
    if options.max_pixels is not None and options.max_pixels < 1:
        raise ConfigurationError(f"--max-pixels {options.max_pixels}: give a number above 0.")


def _write(options: argparse.Namespace, planned: list[Planned]) -> int:
    from relit.enhance_run import Settings, write_results
    from relit.memory import keep_large_allocations
    from relit.method import load_method

    keep_large_allocations()
    if options.precision != "32" and _device(options.device).type == "cpu":
        print(f"relit enhance: --precision {options.precision} is slower than 32 on a CPU", file=sys.stderr)
    given = {name: getattr(options, name) for name in ("strength", "quality", "max_pixels", "batch")}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    method = load_method(
        options.weights,
        _device(options.device),
        options.clip,
        tile=options.tile,
        fast=options.fast,
        precision=options.precision,
    )
    return write_results(method, planned, settings)


def _device(name: str) -> torch.device:
    import torch

    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigurationError("--device cuda: no usable NVIDIA GPU is found here. Use --device cpu.")
    return torch.device("cuda" if there and name != "cpu" else "cpu")

"""``relit enhance``: trained weights applied to photographs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from relit.data.few import few
from relit.errors import ConfigurationError

if TYPE_CHECKING:
    import torch

    from relit.method import Method


def add_enhance(commands: argparse._SubParsersAction) -> None:
    """Add ``enhance``."""
    parser = commands.add_parser(
        "enhance",
        help="apply trained weights to photographs",
        description="Enhance photographs and write each result as a PNG file of the same name and size, in "
        "sRGB. Folders are searched with all folders below them, which are made again in DIR. Exit status: 0 "
        "when all is done, 1 when photographs were left out because they can't be read or do not fit into "
        "memory, 2 when nothing can be done.",
    )
    parser.add_argument(
        "photos", nargs="+", type=Path, metavar="PHOTO", help="a photograph, or a folder of them"
    )
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="DIR", help="the folder that results go to"
    )
    parser.add_argument(
        "--weights",
        required=True,
        type=Path,
        metavar="FILE",
        help="weights.safetensors of a run's directory, or what relit import wrote",
    )
    parser.add_argument(
        "--clip",
        type=Path,
        metavar="FILE",
        help="the weights of the CLIP that CLIP-RestoreX's priors come from, where they can't be had by name",
    )
    parser.add_argument("--force", action="store_true", help="replace results that exist")
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="where to compute (default: auto, a GPU where there is one)",
    )
    parser.set_defaults(run=_enhance)


def _enhance(options: argparse.Namespace) -> int:
    results = plan_results(options.photos, options.output)
    _check_writable(results, options.force)
    from relit.method import load_method

    method = load_method(options.weights, _device(options.device), options.clip)
    left_out = write_results(method, results)
    done = len(results) - left_out
    missing = f", {left_out:,} left out" if left_out else ""
    print(f"{options.output}: {done:,} photograph{'' if done == 1 else 's'} enhanced{missing}")
    return 1 if left_out else 0


def plan_results(photos: Sequence[Path], output: Path) -> dict[Path, Path]:
    """The file that each result goes to, and its photograph.

    A photograph that is named goes to ``output`` itself; one that is found in a folder lies below ``output``
    as it does below that folder. ``output`` is not searched where it lies in such a folder.

    Raises:
        ConfigurationError: a photograph is missing, two would have the same result, or one would be replaced
            by its own result.
    """
    from relit.data.files import same_name
    from relit.data.photo_tree import photos_below

    planned: dict[str, tuple[Path, Path]] = {}
    for named in photos:
        if not os.path.lexists(named):
            raise ConfigurationError(f"{named}: no such photograph or folder.")
        base = named if named.is_dir() else named.parent
        for photo in photos_below(named, but=output) if named.is_dir() else [named]:
            result = output / photo.relative_to(base).with_suffix(".png")
            # some disks take names that differ in case for the same
            _, other = planned.setdefault(same_name(str(result)), (result, photo))
            if other.resolve() != photo.resolve():
                raise ConfigurationError(
                    f"{other} and {photo}: both results would be {result}. Rename one, or enhance them into "
                    "two folders."
                )
    results = dict(planned.values())
    originals = {photo.resolve() for photo in results.values()}
    for result in results:
        if result.resolve() in originals:
            raise ConfigurationError(
                f"{result}: is itself a photograph to enhance. Give another folder with -o."
            )
    return results


def _check_writable(results: Mapping[Path, Path], force: bool) -> None:
    """Find out before the work, not after it, that a result can't be written."""
    from relit.atomic import check_writable

    exist = [str(result) for result in results if os.path.lexists(result)]
    if exist and not force:
        raise ConfigurationError(
            f"{few(exist)}: {'exists' if len(exist) == 1 else 'exist'}. Give another folder with -o, or "
            "--force to replace."
        )
    if folder := next((result for result in results if result.is_dir()), None):
        raise ConfigurationError(f"{folder}: is a folder, where a result would go. Give another one with -o.")
    for result in {result.parent: result for result in results}.values():
        check_writable(result)


def _device(name: str) -> torch.device:
    import torch

    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigurationError("--device cuda: no usable NVIDIA GPU is found here. Use --device cpu.")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def write_results(method: Method, results: Mapping[Path, Path]) -> int:
    """Enhance each photograph and write its result; those that can't be are told one by one.

    Args:
        method: turns a photograph into its result.
        results: the files to write, and the photograph of each.

    Returns:
        How many photographs were left out.
    """
    from tqdm import tqdm

    from relit.data.decoding import UnreadablePhoto
    from relit.data.photo import read_photo, write_png

    left_out = 0
    bar = tqdm(results.items(), "enhancing", unit=" photos", file=sys.stderr, disable=not sys.stderr.isatty())
    for result, photo in bar:
        try:
            image = read_photo(photo)[None].float() / 255
            write_png(result, method(image)[0])
        except UnreadablePhoto as error:
            reason = error.reason
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            reason = f"does not fit into the memory of {method.device}; reduce it, or use --device cpu"
        else:
            continue
        left_out += 1
        tqdm.write(f"relit enhance: left out: {photo}: {reason}", file=sys.stderr)
    return left_out


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Of a GPU, or of the system, for which PyTorch has no class of its own."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)

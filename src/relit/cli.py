"""The command ``relit``: what is done with photographs and weights outside of training.

Exit status: 0 success; 1 done, with faults that a command was asked to look for or with photographs left out;
2 not done, because of the arguments, their files, the disk or the network (one message, no traceback); 130
Ctrl-C; 141 nobody reads what is printed, as in ``relit data list | head -1``. Heavy imports stand inside the
functions that need them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from relit.command_options import add_output
from relit.data.command import add_data
from relit.enhance_command import add_enhance
from relit.errors import ConfigurationError
from relit.evaluate_command import add_evaluate
from relit.export_command import add_export
from relit.figure_command import add_figure
from relit.output_file import check_output
from relit.report_command import add_report

Commands = argparse._SubParsersAction  # the only name argparse has for it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; ``arguments`` default to the process's. Returns the exit status."""
    _print_any_name()
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int | None] = options.run
    try:
        status = run(options) or 0
        sys.stdout.flush()
        return status
    except ConfigurationError as error:
        _complain(options, str(error))
        return 2
    except BrokenPipeError:
        # Or Python complains when it prints the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.filename is None:
            raise
        _complain(options, f"{error.filename}: {error.strerror}")
        return 2
    except KeyboardInterrupt:
        return 130


def _print_any_name() -> None:
    """File names are bytes: those that the terminal's encoding can't show are printed as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _complain(options: argparse.Namespace, message: str) -> None:
    print(f"relit {options.command}: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="relit", description="Use and evaluate what Relit trained.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (add_enhance, add_evaluate, add_export, add_figure, add_report, _add_import, add_data):
        add(commands)
    return parser


def _add_import(commands: Commands) -> None:
    parser = commands.add_parser(
        "import",
        help="turn released .pth files of CLIP-LIT and RAVE into a weight file",
        description="Merge released .pth files of CLIP-LIT and RAVE, one enhancer and one prompt pair at "
        "most, into a weight file of Relit. No code in them is run.",
    )
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a released network or prompt pair"
    )
    add_output(parser, "the weight file to write (.safetensors)")
    parser.set_defaults(run=_import)


def _import(options: argparse.Namespace) -> None:
    check_output(options.output, options.force)
    if options.output.suffix != ".safetensors":
        raise ConfigurationError(f"{options.output}: expected a name that ends in .safetensors.")
    from relit.clip_lit.released import released_weights
    from relit.weights import write_weights

    weights, metadata = released_weights(options.files)
    write_weights(options.output, weights, metadata)
    kinds = [
        f"{group} ({sum(tensor.numel() for tensor in tensors.values()):,} parameters)"
        for group, tensors in weights.items()
    ]
    plan = "[tuning]" if weights.keys() == {"enhancer", "prompts"} else "[prompt_initialisation, tuning]"
    print(f"{options.output}: {' and '.join(kinds)}")
    if "enhancer" in weights:
        print(f"Enhance:  relit enhance PHOTOS -o DIR --weights {options.output}")
    print(f"Train on: python train.py experiment=clip_lit_released start={options.output} 'plan={plan}'")

"""``make bench``: measure, print tables of ratios, and append them to runs/bench.jsonl, a line each time."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks import (
    correction_step,
    enhancement_step,
    gpu,
    photo_enhancement,
    photo_loading,
    prompt_stage,
    start_up,
)
from benchmarks.tables import Table
from benchmarks.timing import machine
from relit.provenance import code_version

HISTORY = Path("runs/bench.jsonl")
THREADS = 2
BENCHMARKS: dict[str, Callable[[], list[Table]]] = {
    module.__name__.removeprefix("benchmarks."): module.run
    for module in (
        start_up,
        prompt_stage,
        enhancement_step,
        photo_enhancement,
        photo_loading,
        correction_step,
    )
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmarks that ``arguments`` name, all by default, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all if none")
    parser.add_argument("--gpu", action="store_true", help="measure on the GPU instead")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.names) - set(BENCHMARKS):
        parser.error(f"no benchmark is named {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    if chosen.gpu and chosen.names:
        parser.error("--gpu measures steps of its own; leave the names out")
    if chosen.gpu and not torch.cuda.is_available():
        parser.error("--gpu: PyTorch finds no CUDA device here")
    torch.set_num_threads(THREADS)
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns of random weights, which are meant
    tables: dict[str, list[Table]] = {}
    for name in ["gpu"] if chosen.gpu else chosen.names or BENCHMARKS:
        print(f"Measuring {name} ...", flush=True)
        tables[name] = gpu.run() if chosen.gpu else BENCHMARKS[name]()
        print("", *tables[name], sep="\n", flush=True)
    for name, value in machine().items():
        print(f"{name}: {value}")
    keep(HISTORY, tables)
    print(f"Appended to {HISTORY}.")


def keep(history: Path, tables: dict[str, list[Table]]) -> None:
    """Append a line of JSON: when, of which code, on which machine, and all tables."""
    line = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": code_version(),
        "machine": machine(),
        "tables": {name: [table.plain() for table in several] for name, several in tables.items()},
    }
    history.parent.mkdir(parents=True, exist_ok=True)
    with history.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()

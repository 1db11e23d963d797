"""``make bench``: measure everything, print a table of ratios and write it to runs/bench.json."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

import torch

from benchmarks import (
    correction_step,
    enhancement_step,
    photo_enhancement,
    photo_loading,
    prompt_stage,
    start_up,
)
from benchmarks.timing import machine
from relit.atomic import atomic_write

RESULTS = "runs/bench.json"
THREADS = 2


def main() -> None:
    """Run the benchmarks one after the other."""
    torch.set_num_threads(THREADS)
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns of random weights, which are meant
    seconds: dict[str, tuple[float, float]] = {}
    for benchmark in (start_up, prompt_stage, enhancement_step, photo_enhancement, photo_loading):
        print(f"Measuring {benchmark.__name__} ...", flush=True)
        seconds |= benchmark.run()
    peaks = photo_loading.memory()
    print(f"Measuring {correction_step.__name__} ...", flush=True)
    step_peaks, costs = correction_step.memory(), correction_step.run()
    print(table(seconds))
    print(photo_loading.memory_table(peaks))
    print(correction_step.table(costs))
    print(correction_step.memory_table(step_peaks))
    for name, value in machine().items():
        print(f"{name}: {value}")
    written = report(seconds, peaks) | correction_step.report(costs, step_peaks)
    atomic_write(RESULTS, json.dumps(written, indent=2).encode())
    print(f"Written to {RESULTS}.")


def table(seconds: Mapping[str, tuple[float, float]]) -> str:
    """One line for each pair of (straightforward, Relit) seconds, and their ratio."""
    width = max(map(len, seconds))
    lines = [f"\n{'':{width}}  {'straightforward':>15}  {'Relit':>10}  {'ratio':>6}"]
    for name, (before, after) in seconds.items():
        lines.append(f"{name:{width}}  {before:13.3f} s  {after:8.3f} s  {before / after:6.1f}")
    return "\n".join([*lines, ""])


def report(
    seconds: Mapping[str, tuple[float, float]], peaks: Mapping[str, tuple[photo_loading.Peak, ...]]
) -> dict[str, object]:
    """The same, and the memory that loading takes, as plain containers, with the machine."""
    rows = {
        name: {"straightforward_seconds": before, "relit_seconds": after, "ratio": before / after}
        for name, (before, after) in seconds.items()
    }
    memory = {name: [peak._asdict() for peak in few_and_many] for name, few_and_many in peaks.items()}
    return {"machine": machine(), "benchmarks": rows, "loading_peak_mib": memory}


if __name__ == "__main__":
    main()

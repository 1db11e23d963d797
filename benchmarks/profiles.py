"""``python -m benchmarks.profiles``: which operations a step spends its time in, by PyTorch's profiler.

A step of each kind, at the sizes that its benchmark has. Time counts where it is spent, not where it is
called from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import correction_step, enhancement_step, prompt_stage
from benchmarks.photo_enhancement import HEIGHT, WIDTH, random_photo
from benchmarks.stand_ins import random_clip, random_photos
from benchmarks.tables import Table
from benchmarks.timing import adam_step
from relit.clip_lit.enhancement import Enhancement
from relit.clip_lit.network import ResidualPPM
from relit.clip_restorex.restormer_stages import RestoredPriors
from relit.fresh_features import BATCH
from relit.memory import keep_large_allocations

THREADS = 2
SHOWN = 8
"""Operations of a table; the others are added up."""


def main() -> None:
    """Print a table for each step."""
    torch.set_num_threads(THREADS)
    keep_large_allocations()
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns of random weights, which are meant
    for name, step in steps():
        step()  # what happens once alone is left out
        print(profiled(name, step), flush=True)


def steps() -> Iterator[tuple[str, Callable[[], object]]]:
    """Each step by its name, built when its turn comes."""
    clip = random_clip("ViT-B-32-quickgelu")
    photos = random_photos(BATCH, prompt_stage.SIZE)
    yield "A step of prompt initialisation on the bank", prompt_stage.bank_step(clip, photos)
    yield f"The bank's view of {BATCH} photographs", prompt_stage.encoding(clip, photos)
    stage = enhancement_step.enhancement_stage(clip, random_clip("RN101-quickgelu"))
    batch = enhancement_step.random_batch(enhancement_step.BATCH_SIZE, enhancement_step.SIZE)
    loss = partial(enhancement_step.stage_loss, stage, batch)
    yield "A step of enhancement", adam_step(stage.network, loss, enhancement_step.LEARNING_RATE)
    way, photo = Enhancement(ResidualPPM(initial_map=1.0)), random_photo(HEIGHT, WIDTH)
    yield "A photograph of 3 megapixels in tiles", torch.inference_mode()(partial(way, photo))
    trained = correction_step.stage(RestoredPriors, random_clip(correction_step.CLIP))
    pairs = correction_step.random_pairs(1, correction_step.CROP)
    loss = partial(correction_step.stage_loss, trained, pairs)
    yield "A step of CLIP-RestoreX's stage 2", adam_step(trained, loss, correction_step.LEARNING_RATE)


def profiled(name: str, step: Callable[[], object]) -> Table:
    """The operations that ``step`` spends most time in, with their shares of it."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        step()
    events = sorted(recorded.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    rows = {event.key: (100 * event.self_cpu_time_total / total, event.count) for event in events[:SHOWN]}
    others = events[SHOWN:]
    rows["all others"] = (
        100 * sum(event.self_cpu_time_total for event in others) / total,
        sum(event.count for event in others),
    )
    return Table(f"{name}: {total / 1e6:.2f} s", ("share, %", "calls"), rows)


if __name__ == "__main__":
    main()

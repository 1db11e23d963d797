"""Batches of a data module at 512 pixels: photographs resized to squares, and crops of pairs.

Straightforward: every photograph is decoded (and resized) whenever it is asked for.

Relit: the cache decodes it once; later epochs map what was decoded. The first epoch, which decodes and
writes, is measured beside them. The files are in the system's cache either way.

With workers each batch crosses over to the training process through new shared memory, which torch's loader
takes about half a millisecond for per 512 x 512 photograph, however it was read: once photographs are in the
cache, no workers load faster than two.
"""

from __future__ import annotations

import io
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from PIL import Image

from benchmarks.tables import Table
from relit.data.datamodule import PhotoData, photo_reader
from relit.data.files import list_photos
from relit.data.layout_pairs import LayoutPairs
from relit.data.layouts.pair_folders import PairFolders
from relit.data.procedural import procedural_scene
from relit.data.reader import Resize
from relit.data.sets import PhotoSet
from relit.data.synthesis import to_srgb
from relit.data.unpaired import UnpairedPhotos

SIZES = {"2048x1365": (1365, 2048), "768x512": (512, 768)}
"""Height and width of the files by their name in the table."""
SIDE, BATCH_SIZE, PHOTOS, JPEG_QUALITY = 512, 8, 64, 92
SCENES = 4
EPOCHS = 5
WORKERS = (0, 2)
FEW, MANY = 16, 128
"""How many photographs, or pairs, are read when memory is measured."""
STATUS = Path("/proc/self/status")
"""Where Linux says how much memory a process uses."""


class Squares(UnpairedPhotos):
    """What :class:`~relit.data.folder_photos.FolderPhotos` trains on where it does not fit into memory."""

    def __init__(self, root: Path, cache_dir: str | None, **options: Any) -> None:
        super().__init__(images=True, test_size=None, **options)
        self.root = root
        self._reader = photo_reader(Resize(square=self.size), cache_dir is not None, cache_dir)

    def load(self) -> tuple[PhotoSet, PhotoSet, None]:
        """The photographs of one folder as backlit, of another as well-lit ones."""
        backlit, well_lit = (
            PhotoSet(list_photos(self.root / name, name), self._reader) for name in ("input", "reference")
        )
        return backlit, well_lit, None


class Epochs(NamedTuple):
    """Seconds a sample in the first epoch and in a later one, without the start of the workers."""

    first: float
    later: float


class Peak(NamedTuple):
    """The most memory, in MiB, that a process has used: in all, and without what is mapped from files."""

    resident: float
    anonymous: float


def write_photos(root: Path, count: int, height: int, width: int) -> None:
    """Write ``count`` pairs of JPEGs, whose bytes all differ, to ``root/input`` and ``root/reference``.

    They show few scenes; the number of each stands behind the end of its picture.
    """
    encoded = [_jpeg(scene, height, width) for scene in range(min(count, SCENES))]
    for place, folder in enumerate(("input", "reference")):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            unique = (number * 2 + place).to_bytes(4, "little")
            (root / folder / f"{number:05}.jpg").write_bytes(encoded[number % len(encoded)] + unique)


def data_module(
    kind: str, root: Path, cache_dir: Path | None, num_workers: int = 0, side: int = SIDE
) -> PhotoData:
    """``squares`` or ``crops`` of the photographs below ``root``, decoded each time or kept in a cache."""
    options: dict[str, Any] = {"batch_size": BATCH_SIZE, "seed": 0, "num_workers": num_workers}
    folder = None if cache_dir is None else str(cache_dir)
    module: PhotoData
    if kind == "squares":
        module = Squares(root, folder, size=side, **options)
    else:
        layout, cached = PairFolders("input", "reference"), folder is not None
        module = LayoutPairs(
            layout, str(root), cache=cached, cache_dir=folder, crop=side, test_size=None, **options
        )
    module.setup()
    return module


def run(repetitions: int = 3) -> list[Table]:
    """Seconds to load 1,000 photographs, by size, kind and workers; and the memory that it takes."""
    return [loading(repetitions), *memory()]


def loading(repetitions: int) -> Table:
    """Seconds of decoding 1,000 photographs each time, and with the cache in the first and later epochs."""
    rows: dict[str, tuple[float, ...]] = {}
    for size, (height, width) in SIZES.items():
        with TemporaryDirectory() as root:
            write_photos(Path(root), PHOTOS, height, width)
            for kind, per_sample in (("squares", 1), ("crops", 2)):
                for workers in WORKERS:
                    measured = _measured(kind, Path(root), workers, repetitions)
                    seconds = [1000 / per_sample * one for one in measured]
                    name = f"{size}, {kind}, {workers} workers"
                    rows[name] = (*seconds, seconds[0] / seconds[2])
    columns = (
        "decoding, s",
        "first epoch with cache, s",
        "later epochs, s",
        "ratio of later (goal: 5 or more)",
    )
    return Table("1,000 photographs loaded", columns, rows)


def memory() -> list[Table]:
    """The memory of a process that only loads, for :data:`FEW` photographs and for :data:`MANY`.

    It fills the cache and reads from it. There is no table where the system does not tell.
    """
    if not STATUS.is_file():
        return []
    rows = {}
    for size, shape in SIZES.items():
        for kind in ("squares", "crops"):
            few, many = (_peak(kind, count, *shape) for count in (FEW, MANY))
            rows[f"{size}, {kind}"] = (few.resident, many.resident, few.anonymous, many.anonymous)
    columns = (f"{FEW}, MiB", f"{MANY}, MiB", f"{FEW}, not from files", f"{MANY}, not from files")
    return [Table("Peak memory of loading photographs (or pairs)", columns, rows)]


def _jpeg(scene: int, height: int, width: int) -> bytes:
    linear = procedural_scene(max(height, width), "benchmark", scene)[:, :height, :width]
    levels = (to_srgb(linear) * 255).round().to(torch.uint8)
    encoded = io.BytesIO()
    Image.fromarray(levels.permute(1, 2, 0).numpy()).save(encoded, format="JPEG", quality=JPEG_QUALITY)
    return encoded.getvalue()


def _measured(kind: str, root: Path, workers: int, repetitions: int) -> tuple[float, float, float]:
    """Median seconds a sample: decoding, in the first epoch with the cache, and in later ones."""
    decoding, cached = [], []
    for _ in range(repetitions):
        decoding.append(_epochs(data_module(kind, root, None, workers), 2))
        with TemporaryDirectory() as cache:
            cached.append(_epochs(data_module(kind, root, Path(cache), workers), EPOCHS))
    return (
        median(epochs.later for epochs in decoding),
        median(epochs.first for epochs in cached),
        median(epochs.later for epochs in cached),
    )


def _epochs(module: PhotoData, count: int) -> Epochs:
    batches = iter(module.train_dataloader())
    next(batches)  # the workers have started
    seconds = []
    for epoch in range(count):
        drawn = PHOTOS // BATCH_SIZE - (epoch == 0)
        started = time.perf_counter()
        for _ in range(drawn):
            next(batches)
        seconds.append((time.perf_counter() - started) / (drawn * BATCH_SIZE))
    return Epochs(seconds[0], median(seconds[1:]))


def _peak(kind: str, photos: int, height: int, width: int) -> Peak:
    with TemporaryDirectory() as root, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        write_photos(Path(root), photos, height, width)
        return pool.submit(_load, kind, root, photos).result()


def _load(kind: str, root: str, photos: int) -> Peak:
    """Two epochs with a new cache, in a process that does nothing else."""
    torch.set_num_threads(1)
    batches = iter(data_module(kind, Path(root), Path(root, "cache")).train_dataloader())
    anonymous = 0.0
    for _ in range(2 * photos // BATCH_SIZE):
        next(batches)
        anonymous = max(anonymous, _status("RssAnon"))
    # not getrusage, which begins at what the process used that started this one
    return Peak(_status("VmHWM"), anonymous)


def _status(key: str) -> float:
    """A line of :data:`STATUS`, in MiB."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) / 1024

"""Sample photographs of runs: the panels of their grids, to be laid over each other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from relit.data.decoding import UnreadablePhoto
from relit.data.photo import read_photo
from relit.grids import BEFORE_AFTER, panels
from relit.report.embedded import embed
from relit.report.run import Run
from relit.report.tables import kinds_of

_PAGE_BYTES = 4_400_000
"""What all pictures of a page take together: 5.9 MB with base64."""
_PHOTO_BYTES = 600_000


@dataclass(frozen=True)
class Panel:
    """One picture: what it is called, and its data URI."""

    label: str
    uri: str


@dataclass(frozen=True)
class Sample:
    """A photograph; ``left`` and ``right`` are the places of the panels that are compared at first."""

    name: str
    width: int
    height: int
    panels: tuple[Panel, ...]
    left: int
    right: int


@dataclass
class _Photograph:
    """Pictures of one photograph by label; input and reference stand for all runs."""

    name: str
    pictures: dict[str, Tensor] = field(default_factory=dict)


def samples_of(runs: Sequence[tuple[str, Run]]) -> tuple[list[Sample], list[str]]:
    """The samples of one run or of several, those of one photograph together.

    Args:
        runs: what each is called, and the run.

    Returns:
        The samples, and a sentence for each picture that is left out.
    """
    photographs: dict[tuple[str, str], _Photograph] = {}
    faults: list[str] = []
    for label, run in runs:
        for file in run.samples:
            pictures = _pictures(file, run.metrics)
            if isinstance(pictures, str):
                faults.append(f"{file}: {pictures}")
                continue
            # two data sets may have photographs of one name
            key = (file.stem, hashlib.sha256(pictures["input"].numpy().tobytes()).hexdigest())
            found = photographs.setdefault(key, _Photograph(file.stem))
            for kind, picture in pictures.items():
                result_of_run = kind == "result" and len(runs) > 1
                found.pictures.setdefault(label if result_of_run else kind, picture)
    each = min(_PHOTO_BYTES, _PAGE_BYTES // max(1, len(photographs)))
    return [_sample(photograph, each) for photograph in photographs.values()], faults


def _pictures(file: Path, metrics: Mapping[str, object] | None) -> dict[str, Tensor] | str:
    """The panels of a grid, uint8 (3, H, W) by kind, or why there are none."""
    try:
        found = panels(read_photo(file))
    except UnreadablePhoto as error:
        return f"can't be read: {error}"
    if not found:
        return "no panels side by side were found in it"
    measured = kinds_of(metrics or {})
    # a run of CLIP-RestoreX's stage 1 alone has references and no result
    no_result = "psnr" in measured.get("input", {}) and "result" not in measured
    kinds = ("input", "reference") if no_result else BEFORE_AFTER
    return dict(zip(kinds, found, strict=False))


def _sample(photograph: _Photograph, most_bytes: int) -> Sample:
    # the reference last, however many results there are
    labels = sorted(photograph.pictures, key=lambda label: (label != "input", label == "reference"))
    uris = embed([photograph.pictures[label] for label in labels], most_bytes)
    height, width = photograph.pictures["input"].shape[1:]
    results = [place for place, label in enumerate(labels) if label not in ("input", "reference")]
    left, right = (results[0], results[1]) if len(results) > 1 else (0, 1)
    shown = tuple(Panel(label, uri) for label, uri in zip(labels, uris, strict=True))
    return Sample(photograph.name, width, height, shown, left, right)

"""How close the results in one folder are to the references in another."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from tqdm import tqdm

from relit.data.decoding import header_size
from relit.data.files import Matches, match, same_name
from relit.data.photo import read_photo, resize_photo
from relit.data.photo_tree import photos_below
from relit.data.sizes import size_mismatch
from relit.errors import ConfigurationError
from relit.metrics import image_psnr, image_ssim
from relit.protocols import Protocol


@dataclass(frozen=True)
class Score:
    """Figures of one result.

    Attributes:
        name: its path below the folder of results.
        psnr: in dB; infinite where it equals its reference.
        ssim: in [-1, 1].
    """

    name: str
    psnr: float
    ssim: float


@dataclass(frozen=True)
class FolderScores:
    """Figures of all results, and what could not be compared.

    Attributes:
        scores: one for each result with a reference.
        unmatched: files without a partner, and why.
    """

    scores: list[Score]
    unmatched: list[tuple[Path, str]]

    @property
    def psnr(self) -> float:
        """Mean over images, in dB; infinite where a result equals its reference."""
        return fmean(score.psnr for score in self.scores)

    @property
    def ssim(self) -> float:
        """Mean over images."""
        return fmean(score.ssim for score in self.scores)

    def table(self, protocol: Protocol) -> str:
        """As text, with the protocol below."""
        images = len(self.scores)
        return (
            f"{'PSNR (dB)':>9}  {'SSIM':>6}\n{self.psnr:9.2f}  {self.ssim:6.3f}\n"
            f"{images:,} image{'' if images == 1 else 's'}, protocol {protocol.name}"
        )

    def report(self, protocol: Protocol) -> dict[str, Any]:
        """For JSON, which knows no infinity: null stands for it."""
        return {
            "protocol": {"name": protocol.name, "description": protocol.description},
            "images": len(self.scores),
            "psnr": _finite(self.psnr),
            "ssim": self.ssim,
            "per_image": [
                {"name": score.name, "psnr": _finite(score.psnr), "ssim": score.ssim} for score in self.scores
            ],
            "unmatched": [{"file": str(path), "reason": reason} for path, reason in self.unmatched],
        }


def score_folders(results: Path, references: Path, progress: bool = False) -> FolderScores:
    """PSNR and SSIM of every result in ``results`` or below it that has a reference.

    Partners have the same name, but for extension and case, in the same folder below ``references``. A
    reference that is a pixel or two larger or smaller is resized to its result.

    Args:
        results: a folder of photographs.
        references: another one.
        progress: whether a bar on the standard error stream tells how far this is.

    Raises:
        ConfigurationError: a folder is missing or empty, nothing fits together, two results fit one
            reference, or a pair can't be read or compared.
    """
    found = match_below(results, references)
    _check_pairs(found.pairs, results, references)
    scores = [
        _score(result, reference, result.relative_to(results).as_posix())
        for result, reference in tqdm(found.pairs, "comparing", unit=" pairs", disable=not progress)
    ]
    return FolderScores(scores, found.unmatched)


def match_below(results: Path, references: Path) -> Matches:
    """:func:`~relit.data.files.match` of each folder in ``results`` with that of the same name in
    ``references``.
    """
    matches = Matches([], [])
    by_folder = [_by_folder(photos_below(folder), folder) for folder in (results, references)]
    for folder in sorted({*by_folder[0], *by_folder[1]}):
        found = match(*(paths[folder] for paths in by_folder))
        matches.pairs.extend(found.pairs)
        matches.unmatched.extend(
            (path, reason.replace("input", "result")) for path, reason in found.unmatched
        )
    return matches


def _by_folder(paths: Sequence[Path], base: Path) -> defaultdict[str, list[Path]]:
    folders: defaultdict[str, list[Path]] = defaultdict(list)
    for path in paths:
        folders[same_name(path.parent.relative_to(base).as_posix())].append(path)
    return folders


def _check_pairs(pairs: Sequence[tuple[Path, Path]], results: Path, references: Path) -> None:
    if not pairs:
        raise ConfigurationError(
            f"{results}: no result has the name of a reference in {references}. Partners have the same name, "
            "but for extension and case, in folders of the same names."
        )
    reference, times = Counter(reference for _, reference in pairs).most_common(1)[0]
    if times > 1:
        named = " and ".join(str(result) for result, other in pairs if other == reference)
        raise ConfigurationError(f"{named}: all are results for {reference}. Leave one of them.")
    for result, reference in pairs:
        mismatch = size_mismatch(header_size(result), header_size(reference))
        if mismatch is not None:
            raise ConfigurationError(
                f"{result} and {reference}: {mismatch.replace('input', 'result')}. Give references of the "
                "results' size."
            )


def _score(result: Path, reference: Path, name: str) -> Score:
    pixels = read_photo(result)
    height, width = pixels.shape[1:]
    images = [photo[None] / 255 for photo in (pixels, resize_photo(read_photo(reference), (height, width)))]
    try:
        return Score(name, image_psnr(*images).item(), image_ssim(*images).item())
    except ValueError as error:  # sides shorter than the window of SSIM
        raise ConfigurationError(f"{result}: {error}. Leave it out.") from error


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

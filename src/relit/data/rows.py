"""What a data set holds, file by file: the form that folders, layouts and manifests are all read into."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class Row:
    """One photograph and what belongs to it.

    Attributes:
        input: the photograph.
        reference: what it should look like, where that is known.
        split: what it may be used for.
        label: how it is lit: ``backlit``, ``well_lit``, ``under``, ``over``, ``mixed`` or another word.
        scene: photographs of one scene share it; those of different splits must not.
    """

    input: Path
    reference: Path | None
    split: Split
    label: str
    scene: str

    @property
    def files(self) -> list[Path]:
        """Input and, where there is one, reference."""
        return [self.input] if self.reference is None else [self.input, self.reference]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a data set that its user should know.

    Attributes:
        kind: ``missing``, ``count``, ``name``, ``unmatched``, ``unreadable``, ``size``, ``duplicate`` or
            ``leak``.
        where: the file or folder, or the split.
        message: what is wrong with it.
        fault: whether figures measured on it, or training, would be wrong or fail; otherwise it is a notice.
    """

    kind: str
    where: str
    message: str
    fault: bool = True


@dataclass
class Listing:
    """The rows that can be used, and what was found that can't be."""

    rows: list[Row] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def __add__(self, other: Listing) -> Listing:
        return Listing(self.rows + other.rows, self.findings + other.findings)

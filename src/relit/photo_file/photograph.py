"""A photograph in memory, with all of its file that is to be kept."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Metadata:
    """What a file tells about its photograph beside the pixels, already true of an upright result.

    Attributes:
        exif: without the orientation, the thumbnail and what tells how pixels were stored. Sub-directories
            (Exif, GPS, Interop) are dictionaries in it.
        xmp: an XMP packet, or nothing.
        dpi: pixels per inch, horizontally and vertically.
        text: texts of a PNG by keyword.
        comment: of a JPEG.
    """

    exif: Image.Exif = field(default_factory=Image.Exif)
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    text: dict[str, str] = field(default_factory=dict)
    comment: bytes = b""


@dataclass(frozen=True)
class Photograph:
    """Upright pixels at their own depth, and what belongs to them.

    Attributes:
        samples: shape (H, W, C), uint8 or uint16: 1 channel is grey, 3 are RGB, 4 are CMYK (0 is no ink).
        alpha: shape (H, W), of the same type; not premultiplied. None: opaque.
        profile: the ICC profile that says which colours ``samples`` are; None is sRGB.
        metadata: kept as it is.
        subsampling: of the chroma in a JPEG, as Pillow numbers it (0: none); None in other files.
        remarks: what of the file this is not, in words that go on with its name.
    """

    samples: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    metadata: Metadata = field(default_factory=Metadata)
    subsampling: int | None = None
    remarks: tuple[str, ...] = ()

    @property
    def is_grey(self) -> bool:
        return self.samples.shape[2] == 1

    @property
    def is_deep(self) -> bool:
        """Whether it has 16 bits per sample."""
        return self.samples.dtype == np.uint16

"""Evaluation protocols: named, frozen recipes. A figure without its protocol is worthless."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from relit.errors import ConfigurationError

Pairing = Literal["names", "msec", "sice"]

REFERENCED = frozenset({"psnr", "ssim", "lpips"})
"""Metrics that compare with a reference; the others look at the result alone."""

_PSNR = "PSNR: data range 1, mean over images of the per-image PSNR."
_SSIM = (
    "SSIM: Gaussian window 11x11 with sigma 1.5, data range 1, only where the window fits in the image, mean "
    "over channels, mean over images."
)
_RGB8 = f"Images rounded to 8 bits, RGB. {_PSNR} {_SSIM}"
_LPIPS = "LPIPS: AlexNet, images in [-1, 1], mean over images."
_MUSIQ = "MUSIQ: weights of KonIQ-10k, mean over images."
_REDUCED = "long side reduced to 2048 (bicubic, antialiased) where it is larger"


@dataclass(frozen=True)
class Protocol:
    """A recipe for figures; each result carries its ``name``.

    Attributes:
        name: as in result files.
        description: the whole recipe in words.
        metrics: what is measured unless something else is asked for, in the order of the columns.
        long_side: images are reduced to it, in pixels, where they are larger; None keeps their size.
        rounded: whether images are clipped to [0, 1] and rounded to 8 bits, as a PNG would hold them.
        luma: whether PSNR and SSIM look at luma instead of RGB; LPIPS and MUSIQ see RGB in any case.
        range_of_result: whether SSIM's data range is max - min of each result instead of 1.
        sample_covariance: whether SSIM divides by N - 1 as scikit-image does by default, not by N.
        pairing: which reference belongs to a result, see :mod:`relit.pairing`.
        copies_once: whether pairs whose files equal another pair's, byte for byte, are left out.
    """

    name: str
    description: str
    metrics: tuple[str, ...] = ("psnr", "ssim")
    long_side: int | None = None
    rounded: bool = True
    luma: bool = False
    range_of_result: bool = False
    sample_covariance: bool = False
    pairing: Pairing = "names"
    copies_once: bool = False


RGB8 = Protocol("rgb8", f"{_RGB8} Any photographs, at the size they are given.")

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        RGB8,
        Protocol(
            "baid",
            f"{_RGB8} {_LPIPS} {_MUSIQ} BAID's test pairs, {_REDUCED}. Copies count once.",
            metrics=("psnr", "ssim", "lpips", "musiq"),
            long_side=2048,
            copies_once=True,
        ),
        Protocol(
            "backlit300",
            f"{_MUSIQ} Backlit300, images rounded to 8 bits, {_REDUCED}. No references.",
            metrics=("musiq",),
            long_side=2048,
        ),
        Protocol(
            "lcdp",
            f"{_RGB8} {_LPIPS} LCDP's test pairs at their own size.",
            metrics=("psnr", "ssim", "lpips"),
        ),
        Protocol(
            "msec",
            f"{_RGB8} MSEC's test pairs at their own size. The figure is that of expert C, or of the expert "
            "who is named; experts A to E and their mean stand beside it. Under-exposed is -1 and -1.5 EV.",
            pairing="msec",
        ),
        Protocol(
            "sice",
            f"{_RGB8} SICE's test pairs at their own size: under, over and the mean over all of both.",
            pairing="sice",
        ),
        Protocol(
            "lcdpnet",
            "To compare with LCDPNet's own figures: images as floats, neither clipped nor rounded, RGB. "
            f"{_PSNR} SSIM: Gaussian window 11x11 with sigma 1.5, sample covariance, data range max - min of "
            "the result, only where the window fits in the image, mean over channels, mean over images. "
            "LCDP's test pairs at their own size; image files are read with 8 bits.",
            rounded=False,
            range_of_result=True,
            sample_covariance=True,
        ),
        Protocol(
            "y_channel",
            "What many toolboxes print: images rounded to 8 bits, then BT.601 luma in studio range, "
            "Y = (16 + 65.481 R + 128.553 G + 24.966 B) / 255, not rounded again. "
            f"{_PSNR} {_SSIM} At the size the images have. Full-range luma would give 1.32 dB less.",
            luma=True,
        ),
    )
}
"""By name. Those of data sets also fix the photographs and their size."""


def find_protocol(name: str) -> Protocol:
    """The protocol of this name.

    Raises: :class:`ConfigurationError` when there is none.
    """
    if name not in PROTOCOLS:
        raise ConfigurationError(f"data.protocol: no protocol {name!r}. There are {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]

"""Evaluation protocols: named, frozen recipes. A figure without its protocol is worthless."""

from __future__ import annotations

from dataclasses import dataclass

from relit.errors import ConfigurationError

_RGB8 = (
    "Images rounded to 8 bits, RGB. PSNR: data range 1, mean over images of the per-image PSNR. SSIM: "
    "Gaussian window 11x11 with sigma 1.5, data range 1, only where the window fits in the image, mean over "
    "channels, mean over images."
)


@dataclass(frozen=True)
class Protocol:
    """A recipe for figures; each result carries its ``name``.

    Attributes:
        name: as in result files.
        description: the whole recipe in words.
    """

    name: str
    description: str


RGB8 = Protocol("rgb8", f"{_RGB8} Any photographs, at the size they are given.")

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        RGB8,
        Protocol("baid", f"{_RGB8} BAID's test pairs, long side reduced to 2048 where it is larger."),
        Protocol("backlit300", "Backlit300, long side reduced to 2048 where it is larger. No references."),
        Protocol("lcdp", f"{_RGB8} LCDP's test pairs at their own size."),
        Protocol(
            "msec", f"{_RGB8} MSEC's test pairs at their own size, references of the expert that is named."
        ),
        Protocol("sice", f"{_RGB8} SICE's test pairs at their own size: under, over and their mean."),
    )
}
"""By name; all but ``rgb8`` also fix the data set and the size."""


def find_protocol(name: str) -> Protocol:
    """The protocol of this name.

    Raises: :class:`ConfigurationError` when there is none.
    """
    if name not in PROTOCOLS:
        raise ConfigurationError(f"data.protocol: no protocol {name!r}. There are {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]

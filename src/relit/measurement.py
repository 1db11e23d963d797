"""One image measured: every metric that was asked for, by one protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from relit.errors import ConfigurationError
from relit.measures import MEASURABLE
from relit.metrics import image_psnr, image_ssim, round_to_8_bits
from relit.perceptual import Unavailable, load_lpips, load_musiq
from relit.protocols import REFERENCED, Protocol

Figures = dict[str, float]
"""By metric, of one image or as means over several."""


def measurement_of_run(protocol: Protocol, also: Sequence[str], device: torch.device) -> Measurement:
    """PSNR, SSIM, and what a run's configuration wants ``also``.

    Raises:
        ConfigurationError: there is no such metric.
    """
    if unknown := [name for name in also if name not in MEASURABLE]:
        raise ConfigurationError(
            f"finish: also={list(also)}: no metric {unknown[0]!r}. There are {', '.join(MEASURABLE)}."
        )
    return Measurement(protocol, list(dict.fromkeys(["psnr", "ssim", *also])), device)


class Measurement:
    """Measures images by a protocol.

    Args:
        protocol: how images are prepared and compared.
        metrics: names of :data:`~relit.measures.MEASURABLE`.
        device: where to compute.

    Attributes:
        metrics: those that can be measured here.
        unavailable: the others, and why not.
    """

    def __init__(self, protocol: Protocol, metrics: Sequence[str], device: torch.device) -> None:
        self.protocol = protocol
        self.device = device
        self.unavailable: dict[str, str] = {}
        self._measures: dict[str, Callable[[Tensor, Tensor | None], float]] = {}
        for name in metrics:
            try:
                self._measures[name] = self._load(name)
            except Unavailable as reason:
                self.unavailable[name] = str(reason)

    @property
    def metrics(self) -> list[str]:
        return list(self._measures)

    @property
    def needs_references(self) -> bool:
        """Whether one of the metrics compares with a reference."""
        return not REFERENCED.isdisjoint(self._measures)

    def __call__(self, result: Tensor, reference: Tensor | None = None) -> Figures:
        """The figures of one result.

        Args:
            result: (1, 3, H, W) in [0, 1], of the size that the protocol wants.
            reference: alike; None measures only what needs none.

        Raises:
            ValueError: the image is too small for a metric, or has a single level where that has no figure.
        """
        pictures = [None if image is None else image.to(self.device) for image in (result, reference)]
        wanted = [name for name in self._measures if reference is not None or name not in REFERENCED]
        return {name: self._measures[name](*pictures) for name in wanted}  # type: ignore[arg-type]

    def _load(self, name: str) -> Callable[..., float]:
        if name == "psnr":
            return lambda result, reference: image_psnr(result, reference, self.protocol).item()
        if name == "ssim":
            return lambda result, reference: image_ssim(result, reference, self.protocol).item()
        if name == "lpips":
            lpips = load_lpips(self.device)
            return lambda result, reference: lpips(self._seen(result), self._seen(reference))
        musiq = load_musiq(self.device)
        return lambda result, _: musiq(self._seen(result))

    def _seen(self, image: Tensor) -> Tensor:
        """What a network is shown: RGB in [0, 1]."""
        return round_to_8_bits(image) if self.protocol.rounded else image.clamp(0, 1)

"""LPIPS and MUSIQ: networks that judge images. Their weights are fetched once, by whoever asks for them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

LEAST_SIDE = 31
"""Of images that LPIPS takes, in pixels: below it AlexNet's second pooling has nothing left to pool."""

BACKBONE = "alexnet-owt-7be5be79.pth"
"""The file of torchvision's AlexNet, as torch.hub names it."""


class Unavailable(Exception):  # noqa: N818 (says what is wrong, not that something is)
    """A metric that can't be measured here; the message is the reason, in one line."""


def load_lpips(device: torch.device) -> Callable[[Tensor, Tensor], float]:
    """LPIPS with AlexNet, by torchmetrics: of two images (1, 3, H, W) in [0, 1], 0 where they are equal.

    The linear heads come with torchmetrics; AlexNet's weights are fetched by torchvision, once, into the
    folder ``hub/checkpoints`` of ``TORCH_HOME``, where a copied file does as well.
    R. Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018.

    Raises:
        Unavailable: the weights are not there and can't be fetched.
    """
    from torchmetrics.image import LearnedPerceptualImagePatchSimilarity

    folder = f"{torch.hub.get_dir()}/checkpoints"
    try:
        with _silent():
            metric = LearnedPerceptualImagePatchSimilarity("alex").to(device)
    except Exception as error:  # whatever a download or a damaged file raises
        raise Unavailable(
            f"AlexNet's weights can't be loaded ({_line(error)}). Put {BACKBONE} of "
            f"https://download.pytorch.org/models into {folder}"
        ) from error

    @torch.no_grad()
    def lpips(result: Tensor, reference: Tensor) -> float:
        if min(result.shape[-2:]) < LEAST_SIDE:
            height, width = result.shape[-2:]
            raise ValueError(
                f"LPIPS needs images of at least {LEAST_SIDE}x{LEAST_SIDE} pixels, not {width}x{height}"
            )
        # forward gives the value of this batch of one; what it sums up besides is not used
        return float(metric(*(2 * image.to(device).float() - 1 for image in (result, reference))))

    return lpips


def load_musiq(device: torch.device) -> Callable[[Tensor], float]:
    """MUSIQ with the weights of KonIQ-10k, by pyiqa: of an image (1, 3, H, W) in [0, 1], 0 to 100.

    pyiqa stands under the PolyForm Noncommercial licence, so it is an extra that Relit does not install by
    itself. J. Ke et al., MUSIQ: Multi-scale Image Quality Transformer, ICCV 2021.

    Raises:
        Unavailable: pyiqa is not installed, or the weights are not there and can't be fetched.
    """
    try:
        with _silent():
            import pyiqa
    except ImportError as error:
        raise Unavailable(
            f'{_line(error)}. pip install -e ".[musiq]" brings pyiqa, whose licence, PolyForm Noncommercial, '
            "forbids commercial use"
        ) from error
    try:
        with _silent():
            metric = pyiqa.create_metric("musiq", device=device)
    except Exception as error:  # whatever a download or a damaged file raises
        raise Unavailable(f"MUSIQ's weights can't be loaded ({_line(error)})") from error

    @torch.no_grad()
    def musiq(result: Tensor) -> float:
        return float(metric(result.to(device).float()))

    return musiq


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Loaders print where they fetch from, in the middle of a table."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."

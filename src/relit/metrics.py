"""How close a result is to its reference, and by which recipe that was measured."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.functional.image import peak_signal_noise_ratio

from relit.protocols import RGB8, Protocol

WINDOW = 11
"""Side of SSIM's window, in pixels: smaller images have no SSIM."""
_SIGMA = 1.5


def round_to_8_bits(images: Tensor) -> Tensor:
    """The images as a PNG would hold them: clipped to [0, 1] and rounded to multiples of 1/255."""
    return (images.clamp(0, 1) * 255).round() / 255


def image_psnr(result: Tensor, reference: Tensor, protocol: Protocol = RGB8) -> Tensor:
    """PSNR of each image by ``protocol``, in dB.

    Args:
        result: (B, 3, H, W) in [0, 1].
        reference: the same shape and range.
        protocol: says whether images are rounded to 8 bits, and whether RGB or luma is compared.

    Returns:
        (B,). Images that are equal as the protocol sees them give infinity.
    """
    x, y = _comparable(result, reference, protocol)
    psnr = peak_signal_noise_ratio(x, y, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return psnr.to(result.device).float()


def image_ssim(result: Tensor, reference: Tensor, protocol: Protocol = RGB8) -> Tensor:
    """SSIM of each image by ``protocol``, mean over channels and over where the window fits.

    SSIM = (2 mu_x mu_y + c1) (2 sigma_xy + c2) / ((mu_x^2 + mu_y^2 + c1) (sigma_x^2 + sigma_y^2 + c2)) with
    c1 = (0.01 L)^2, c2 = (0.03 L)^2 and the data range L.
    Equals scikit-image with ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1``,
    but for what the protocol wants otherwise.

    torchmetrics averages over reflected borders too, up to 5e-3 away. In float32 its variances cancel in
    flat, bright areas (5e-5 in the mean); in float64 its convolution takes most of a minute per megapixel on
    a CPU. So the window runs here as two passes of shifted sums in float64.

    Args:
        result: (B, 3, H, W) in [0, 1], both sides at least 11 pixels.
        reference: the same shape and range.
        protocol: says what of the images is compared, and the data range.

    Returns:
        (B,) in [-1, 1].

    Raises:
        ValueError: the shapes differ, a side is shorter than the window, or the data range is that of a
            result with a single level.
    """
    x, y = _comparable(result, reference, protocol)
    if min(x.shape[-2:]) < WINDOW:
        height, width = x.shape[-2:]
        raise ValueError(f"SSIM needs images of at least {WINDOW}x{WINDOW} pixels, not {width}x{height}")
    data_range = _data_range(x, protocol)
    # one channel after the other: a third of the memory
    channels = [
        _channel_ssim(*pair, data_range, protocol.sample_covariance)
        for pair in zip(x.split(1, dim=1), y.split(1, dim=1), strict=True)
    ]
    return torch.stack(channels).mean(dim=0).to(result.device).float()


def _channel_ssim(x: Tensor, y: Tensor, data_range: Tensor, sample_covariance: bool) -> Tensor:
    """(B,), the mean over pixels, of (B, 1, H, W)."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    correction = WINDOW**2 / (WINDOW**2 - 1) if sample_covariance else 1.0
    mu_x, mu_y = _window_mean(x), _window_mean(y)
    variances = correction * (_window_mean(x * x) - mu_x * mu_x + _window_mean(y * y) - mu_y * mu_y)
    covariance = correction * (_window_mean(x * y) - mu_x * mu_y)
    luminance = (2 * mu_x * mu_y + c1) / (mu_x * mu_x + mu_y * mu_y + c1)
    return (luminance * (2 * covariance + c2) / (variances + c2)).mean(dim=(1, 2, 3))


def luma(images: Tensor) -> Tensor:
    """BT.601 luma in studio range, (B, 1, H, W) in [16/255, 235/255], of RGB (B, 3, H, W) in [0, 1].

    Y = (16 + 65.481 R + 128.553 G + 24.966 B) / 255, as MATLAB's ``rgb2ycbcr`` and BasicSR have it.
    """
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=images.dtype, device=images.device)
    return (16 + torch.einsum("bchw,c->bhw", images, weights)[:, None]) / 255


def _window_mean(x: Tensor) -> Tensor:
    """Gaussian mean around each pixel whose 11x11 window fits: (B, C, H, W) to (B, C, H - 10, W - 10)."""
    weights = [math.exp(-((k - WINDOW // 2) ** 2) / (2 * _SIGMA**2)) for k in range(WINDOW)]
    for dim in (-1, -2):
        length = x.shape[dim] - WINDOW + 1
        mean = x.narrow(dim, 0, length) * (weights[0] / sum(weights))
        for k in range(1, WINDOW):
            mean.add_(x.narrow(dim, k, length), alpha=weights[k] / sum(weights))
        x = mean
    return x


def _data_range(x: Tensor, protocol: Protocol) -> Tensor:
    """SSIM's L for each image, (B, 1, 1, 1)."""
    if not protocol.range_of_result:
        return x.new_ones(len(x), 1, 1, 1)
    extent = x.amax(dim=(1, 2, 3), keepdim=True) - x.amin(dim=(1, 2, 3), keepdim=True)
    if not bool((extent > 0).all()):
        raise ValueError(
            f"SSIM of protocol {protocol.name} divides by the result's range, and it has one level only"
        )
    return extent


def _comparable(result: Tensor, reference: Tensor, protocol: Protocol) -> tuple[Tensor, Tensor]:
    """Both images as the protocol compares them, in float64, on a device that has float64."""
    if result.shape != reference.shape or result.ndim != 4:
        raise ValueError(
            f"result and reference must be (B, 3, H, W) and alike, not {tuple(result.shape)} and "
            f"{tuple(reference.shape)}"
        )
    device = torch.device("cpu") if result.device.type == "mps" else result.device
    x, y = (image.detach().to(device).double() for image in (result, reference))
    if protocol.rounded:
        x, y = round_to_8_bits(x), round_to_8_bits(y)
    return (luma(x), luma(y)) if protocol.luma else (x, y)


class MeanOverImages(Metric):
    """The mean of a per-image figure, (B,), over all images of all processes, each image counted once.

    NaN while no process has seen an image.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Count the images of one batch."""
        self.total += values.sum()
        self.images += values.numel()

    def compute(self) -> Tensor:
        return self.total / self.images


class PSNR(MeanOverImages):
    """Mean over images of :func:`image_psnr`."""

    def update(self, result: Tensor, reference: Tensor) -> None:  # type: ignore[override]
        """Count results and references, (B, 3, H, W) in [0, 1]."""
        super().update(image_psnr(result, reference))


class SSIM(MeanOverImages):
    """Mean over images of :func:`image_ssim`."""

    def update(self, result: Tensor, reference: Tensor) -> None:  # type: ignore[override]
        """Count results and references, (B, 3, H, W) in [0, 1]."""
        super().update(image_ssim(result, reference))


class PairMetrics(MetricCollection):
    """``psnr`` and ``ssim`` of results and references by the ``rgb8`` protocol.

    ``update(result, reference)`` takes (B, 3, H, W) in [0, 1]; sizes may differ from call to call.
    """

    def __init__(self, prefix: str | None = None, postfix: str | None = None) -> None:
        metrics: dict[str, Metric | MetricCollection] = {"psnr": PSNR(), "ssim": SSIM()}
        super().__init__(metrics, prefix=prefix, postfix=postfix or None, compute_groups=False)

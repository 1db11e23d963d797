"""Networks that estimate the illumination of a photograph, and the division that removes it.

Retinex as CLIP-LIT uses it: a backlit photo I_b is the well-lit result I_t times an illumination map I_i, so
I_t = I_b / I_i.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relit.clip_lit.guided import map_of_reduced
from relit.errors import ConfigurationError

FLOOR = 1e-4
"""The least illumination, far below 1/255: 8-bit pixels above black saturate there anyway."""

_SLOPE = 0.2


def enhance(image: Tensor, illumination: Tensor, floor: float = FLOOR) -> Tensor:
    """Remove the illumination: I_t = clamp(I_b / I_i, 0, 1).

    The released code divides by ``map + 1e-9``. Above ``floor`` this is the same; below it the map counts as
    ``floor``, so that the gradient is bounded by 1 / floor.

    Args:
        image: I_b, (B, 3, H, W) in [0, 1].
        illumination: I_i, (B, 1, H, W), >= 0.
        floor: the least illumination.

    Returns:
        I_t, (B, 3, H, W) in [0, 1].
    """
    return (image / divisor(illumination, floor)).clamp(0, 1)


def divisor(illumination: Tensor, floor: float = FLOOR) -> Tensor:
    """What :func:`enhance` divides by, of the shape of ``illumination``."""
    # in float32 also under autocast: bfloat16 would round a map near 1 by 0.4 %
    accurate = torch.promote_types(illumination.dtype, torch.float32)
    return illumination.to(accurate).clamp(min=floor) + 1e-9


class IlluminationNetwork(nn.Module, ABC):
    """A network from photos (B, 3, H, W) in [0, 1] to illumination maps (B, 1, H, W) >= 0.

    ``initial_map`` is what :func:`initialise` makes the first map (nearly) equal to: 1 starts at the
    identity. None leaves the output bias random, as the released code does; then many seeds start with a map
    of zeros.

    ``illumination_scale`` s > 1 estimates the map of photographs reduced s times a side, and brings it back
    along their edges, in training as afterwards: s^2 times less work for the network, whose weights have the
    same shapes.
    """

    hidden_std: ClassVar[float | None] = None
    """Standard deviation of initial hidden weights; None: Kaiming's, for LeakyReLU."""
    output_std: ClassVar[float]
    """Standard deviation of the initial weights of :attr:`output`."""
    multiple: int = 1
    """Sides of what :meth:`illumination` sees are padded inside to multiples of this."""

    def __init__(self, initial_map: float | None, illumination_scale: int = 1) -> None:
        super().__init__()
        if not isinstance(illumination_scale, int) or illumination_scale < 1:
            raise ConfigurationError(
                f"network.illumination_scale={illumination_scale}: expected a whole number from 1."
            )
        self.initial_map, self.illumination_scale = initial_map, illumination_scale

    @property
    def grid(self) -> int:
        """Photographs whose sides are multiples of it, two or more, are padded nowhere."""
        return self.multiple * self.illumination_scale

    def forward(self, photos: Tensor) -> Tensor:
        """Photos (B, 3, H, W) in [0, 1] to illumination maps (B, 1, H, W)."""
        if self.illumination_scale == 1:
            return self.illumination(photos)
        return map_of_reduced(photos, self.illumination_scale, self.illumination, self.multiple)

    @abstractmethod
    def illumination(self, x: Tensor) -> Tensor:
        """The map (B, 1, h, w) of photographs (B, 3, h, w), reduced already."""

    @property
    @abstractmethod
    def output(self) -> nn.Conv2d:
        """The convolution that makes the map."""


class SwitchedConv(nn.Conv2d):
    """A 3x3 convolution that reflects the border; in training it may pad zeros instead, as in the release."""

    def __init__(self, in_channels: int, out_channels: int, zeros_in_training: bool) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, padding_mode="reflect")
        self.zeros_in_training = zeros_in_training

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.zeros_in_training:
            return F.conv2d(x, self.weight, self.bias, padding=1)
        return super().forward(x)


class ResidualBlock(nn.Module):
    """y = lrelu(x + conv2(lrelu(conv1(x)))), borders reflected, no bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False, padding_mode="reflect")
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.conv2(F.leaky_relu(self.conv1(x), _SLOPE)), _SLOPE)


class PyramidPooling(nn.Module):
    """What the image looks like as a whole and in its 2x2, 3x3 and 6x6 parts, mixed into every pixel."""

    def __init__(self, channels: int, reduction: int, bins: tuple[int, ...] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.bins = bins
        self.features = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(b), nn.Conv2d(channels, reduction, 1, bias=False), nn.PReLU())
            for b in bins
        )
        mixed = channels + reduction * len(bins)
        self.fuse = nn.Sequential(nn.Conv2d(mixed, channels, 3, padding=1, bias=False), nn.PReLU())

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        parts = [F.interpolate(f(x), size, mode="bilinear", align_corners=True) for f in self.features]
        return self.fuse(torch.cat([x, *parts], dim=1))


class ResidualPPM(IlluminationNetwork):
    """The network CLIP-LIT released: full resolution, residual blocks, pyramid pooling; 278,790 parameters.

    State-dict names are the release's, so its checkpoints (and RAVE's) load with ``strict=True``.

    Args:
        padding: how the four plain convolutions pad in training: ``reflect`` as at test time, or ``zeros`` as
            the release trains. At test time they always reflect. Residual blocks always reflect and the fuse
            convolution always pads zeros.
        initial_map, illumination_scale: see :class:`IlluminationNetwork`.
    """

    hidden_std = 0.02
    output_std = 0.02

    def __init__(
        self,
        padding: Literal["reflect", "zeros"] = "reflect",
        initial_map: float | None = None,
        illumination_scale: int = 1,
    ) -> None:
        super().__init__(initial_map, illumination_scale)
        if padding not in ("reflect", "zeros"):
            raise ConfigurationError(f"padding of ResidualPPM must be 'reflect' or 'zeros', not {padding!r}.")
        zeros = padding == "zeros"
        self.cond1 = SwitchedConv(3, 32, zeros)
        self.cond_add1 = SwitchedConv(32, 1, zeros)
        self.condx = SwitchedConv(32, 64, zeros)
        self.condy = SwitchedConv(64, 32, zeros)
        self.ResidualBlock1 = ResidualBlock(32)
        self.ResidualBlock2 = ResidualBlock(32)
        self.ResidualBlock3 = ResidualBlock(64)
        self.ResidualBlock4 = ResidualBlock(64)
        self.ResidualBlock5 = ResidualBlock(32)
        self.ResidualBlock6 = ResidualBlock(32)
        self.PPM1 = PyramidPooling(32, reduction=8)

    @property
    def output(self) -> nn.Conv2d:
        return self.cond_add1

    def illumination(self, x: Tensor) -> Tensor:
        """Photos (B, 3, h, w) in [0, 1], sides of at least 2 pixels, to illumination maps (B, 1, h, w)."""
        return self.behind_pooling(self.PPM1(self.before_pooling(x)))

    def before_pooling(self, x: Tensor) -> Tensor:
        """Photos (B, 3, H, W) to the features (B, 32, H, W) that pyramid pooling sees."""
        x = F.leaky_relu(self.cond1(x), _SLOPE)
        return self.ResidualBlock2(self.ResidualBlock1(x))

    def behind_pooling(self, x: Tensor) -> Tensor:
        """What pyramid pooling makes, (B, 32, H, W), to illumination maps (B, 1, H, W)."""
        x = self.ResidualBlock4(self.ResidualBlock3(self.condx(x)))
        x = self.ResidualBlock6(self.ResidualBlock5(self.condy(x)))
        return F.relu(self.cond_add1(x))


class UNet(IlluminationNetwork):
    """An encoder-decoder with skip connections, about as large as :class:`ResidualPPM` and much cheaper.

    The paper says "a simple Unet"; its release is :class:`ResidualPPM`. Any size works: the photo is padded
    inside. 263,201 parameters.

    Args:
        channels: of the encoder levels, finest first; each level has half the resolution of the one before.
        initial_map, illumination_scale: see :class:`IlluminationNetwork`.
    """

    output_std = 0.001

    def __init__(
        self,
        channels: tuple[int, ...] = (16, 32, 56, 64),
        initial_map: float | None = 1.0,
        illumination_scale: int = 1,
    ) -> None:
        super().__init__(initial_map, illumination_scale)
        self.encoder = nn.ModuleList(
            _convolutions(before, now) for before, now in zip((3, *channels[:-1]), channels, strict=True)
        )
        self.decoder = nn.ModuleList(
            _convolutions(deep + skip, skip)
            for deep, skip in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(channels[0], 1, 3, padding=1, padding_mode="replicate")
        self.multiple = 2 ** (len(channels) - 1)

    @property
    def output(self) -> nn.Conv2d:
        return self.last

    def illumination(self, x: Tensor) -> Tensor:
        """Photos (B, 3, h, w) in [0, 1] of any size to illumination maps (B, 1, h, w) >= 0."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        skips = []
        for level, convolutions in enumerate(self.encoder):
            x = convolutions(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for convolutions, skip in zip(self.decoder, skips[-2::-1], strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = convolutions(torch.cat([x, skip], dim=1))
        return F.relu(self.last(x))[..., :height, :width]


def _convolutions(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two 3x3 convolutions; borders are repeated, which works down to a single pixel."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode="replicate"),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, padding_mode="replicate"),
        nn.LeakyReLU(_SLOPE),
    )


@torch.no_grad()
def initialise(network: IlluminationNetwork, generator: torch.Generator) -> None:
    """Draw all weights of ``network`` anew, as a function of ``generator`` (on the CPU) alone.

    Convolution weights are N(0, 0.02) in :class:`ResidualPPM`, as in the release. :class:`UNet`, which would
    swallow so small weights for want of residuals, has Kaiming's and an output of N(0, 0.001), so that its
    first map is flat too. Biases are PyTorch's default U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)), except that
    ``network.initial_map``, where given, is the output bias. PReLU slopes are 0.25.
    """
    for module in network.modules():
        if isinstance(module, nn.PReLU):
            module.weight.fill_(0.25)
        if not isinstance(module, nn.Conv2d):
            continue
        fan_in = module.weight[0].numel()
        kaiming = math.sqrt(2 / ((1 + _SLOPE**2) * fan_in))
        std = network.output_std if module is network.output else network.hidden_std or kaiming
        module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * std)
        if module.bias is not None:
            uniform = torch.rand(module.bias.shape, generator=generator) * 2 - 1
            module.bias.copy_(uniform / math.sqrt(fan_in))
    if network.initial_map is not None and network.output.bias is not None:
        network.output.bias.fill_(network.initial_map)

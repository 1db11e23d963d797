"""Trained methods as modules that can be exported: the same results from operators that all formats have."""

from __future__ import annotations

import copy
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from relit.clip_lit.enhancement import Enhancement
from relit.clip_lit.guided import map_of_multiples
from relit.clip_lit.network import IlluminationNetwork, enhance
from relit.clip_restorex.correction import Correction
from relit.clip_restorex.diffusion import PriorDiffusion, starting_noise
from relit.clip_restorex.model import RestoreX
from relit.clip_restorex.restormer import MULTIPLE
from relit.export.real_denoisers import in_real_numbers
from relit.export.resampling import AveragedBins, leading, mirrored_places, repeated_places, resized
from relit.frozen_tower import FrozenTower
from relit.method import Method

Network = TypeVar("Network", bound=nn.Module)


class Exportable(nn.Module):
    """From photographs (B, 3, H, W) in [0, 1] to results of the same shape and range.

    Args:
        multiple: sides are padded inside to multiples of this.
    """

    def __init__(self, multiple: int) -> None:
        super().__init__()
        self.multiple = multiple

    @property
    def smallest(self) -> int:
        """Pixels that a side must have at least.

        Exporters take sides of 1, which broadcast, for another case, so none may come up between the layers.
        """
        return self.multiple + 1


def exportable(method: Method) -> Exportable:
    """What ``method`` computes, as one module; the method is left as it is."""
    correct = method.correct
    module: Exportable
    if isinstance(correct, Enhancement):
        module = ExportableEnhancement(correct.network)
    elif isinstance(correct, Correction):
        module = ExportableCorrection(correct.network, correct.clip)
    else:
        raise TypeError(f"{method.name} has no form that can be exported")
    return module.eval().requires_grad_(False)


class ExportableEnhancement(Exportable):
    """:class:`Enhancement` of photographs whose size is not known yet.

    Args:
        network: trained; a copy is kept.
    """

    def __init__(self, network: IlluminationNetwork) -> None:
        super().__init__(network.grid)
        self.network, self.scale = _with_averaged_bins(_row_by_row(network)), network.illumination_scale

    def forward(self, photographs: Tensor) -> Tensor:
        """I_t in [0, 1] of I_b, (B, 3, H, W) in [0, 1]."""
        height, width = photographs.shape[-2:]
        # so that nothing is left for the network to pad
        rows, columns = (repeated_places(side, self.multiple, photographs.device) for side in (height, width))
        whole = photographs[:, :, rows][..., columns]
        small_map = self.network.illumination
        illumination = small_map(whole) if self.scale == 1 else map_of_multiples(whole, self.scale, small_map)
        return enhance(photographs, leading(illumination, height, width))


def _row_by_row(network: Network) -> Network:
    """A copy as files hold weights: PyTorch's archive takes channels-last ones for parts of others."""
    return copy.deepcopy(network).to(memory_format=torch.contiguous_format)


def _with_averaged_bins(network: IlluminationNetwork) -> IlluminationNetwork:
    """Adaptive pooling replaced, which ONNX does not have."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.AdaptiveAvgPool2d):
            network.set_submodule(name, AveragedBins(cast("int", module.output_size)))
    return network


class ExportableCorrection(Exportable):
    """:class:`Correction` of photographs whose size is not known yet.

    Args:
        network: trained; copies of its parts are kept.
        clip: what its priors are observed by; None where it has none.
    """

    noise: Tensor

    def __init__(self, network: RestoreX, clip: FrozenTower | None) -> None:
        super().__init__(MULTIPLE)
        own = _row_by_row(network)
        self.restormer, self.priors = own.restormer, own.priors
        self.diffusion = _in_real_numbers(own.diffusion)
        self.clip = clip
        # so that its parameters are known, which it hides
        self.image_network = None if clip is None else clip.image_network
        if self.diffusion is not None and self.priors is not None:
            noise = starting_noise(self.diffusion.draws, self.priors.count, self.priors.length)
            self.register_buffer("noise", noise)

    def forward(self, photographs: Tensor) -> Tensor:
        """I_out in [0, 1] of I_in, (B, 3, H, W) in [0, 1]."""
        height, width = photographs.shape[-2:]
        rows, columns = (mirrored_places(side, self.multiple, photographs.device) for side in (height, width))
        whole = photographs[:, :, rows][..., columns]
        result = self.restormer(whole, self.restored_priors(photographs, whole))
        return leading(result, height, width).clamp(0, 1)

    def restored_priors(self, photographs: Tensor, whole: Tensor) -> Tensor | None:
        """P', (B, n, D), of photographs and of the same mirrored; None for the plain Restormer."""
        if self.priors is None:
            return None
        # at their final size, so that neither tower nor encoder has anything to resize or to pad
        seen = whole if self.clip is None else resized(photographs, self.clip.image_size, self.clip.antialias)
        condition = cast("Tensor", self.priors(self.priors.observe(seen, self.clip)))
        if self.diffusion is None:
            return condition
        noise = self.noise.expand(photographs.shape[0], -1, -1, -1)
        return cast("Tensor", self.diffusion(condition, noise))


def _in_real_numbers(diffusion: PriorDiffusion | None) -> PriorDiffusion | None:
    if diffusion is not None:
        diffusion.denoiser = in_real_numbers(diffusion.denoiser)
    return diffusion

"""Batch normalisation of a frozen network, as part of the convolutions before it."""

from __future__ import annotations

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(network: nn.Module) -> None:
    """Let each convolution of ``network`` do what the batch normalisation right behind it does.

    With statistics that stay as they are, that is a factor and a sum for each channel, which go into the
    convolution's weights and bias: the same results up to rounding, a pass over each feature map less, and
    one map less to keep for gradients. In place; ``network`` must be in evaluation mode.

    Args:
        network: whose modules are called in the order in which they are registered, as in ResNets.
    """
    for module in list(network.modules()):
        for (name, layer), (norm_name, norm) in pairwise(list(module.named_children())):
            # no subclass: timm's BatchNormAct2d is an activation, too
            if type(layer) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
                setattr(module, name, fuse_conv_bn_eval(layer, norm))
                setattr(module, norm_name, nn.Identity())

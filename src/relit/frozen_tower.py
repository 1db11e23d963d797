"""A frozen image tower: a dependency of the modules that use it, not a passenger in them.

The network is hidden from ``parameters()`` and ``state_dict()``: it is never trained and never enters a
checkpoint, but it moves between devices with the module that holds it. Preprocessing (resize, normalise) is
batched and differentiable, so gradients reach the pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from relit.clip import ClipIdentity

Token = Literal["class", "mean"]
"""What stands for a transformer block: its class token, or the mean of its patches' tokens."""


class FrozenTower(nn.Module, ABC):
    """A network that is only asked what it sees in images.

    Args:
        model: the network; frozen here.
        identity: what to write into weight files.
        mean: per-channel mean of its preprocessing.
        std: per-channel standard deviation of its preprocessing.
        antialias: smooth before reducing images to its size.
    """

    # hidden from nn.Module's registers, so mypy is told here what they are
    _model: Any
    _mean: Tensor
    _std: Tensor

    def __init__(
        self,
        model: nn.Module,
        identity: ClipIdentity,
        mean: Sequence[float],
        std: Sequence[float],
        antialias: bool = True,
    ) -> None:
        super().__init__()
        model.requires_grad_(False).eval()
        object.__setattr__(self, "_model", model)
        self.identity, self.antialias = identity, antialias
        object.__setattr__(self, "_mean", torch.tensor(mean)[:, None, None])
        object.__setattr__(self, "_std", torch.tensor(std)[:, None, None])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move (or cast) the hidden model with the module that holds this one."""
        self._model._apply(fn)
        object.__setattr__(self, "_mean", fn(self._mean))
        object.__setattr__(self, "_std", fn(self._std))
        super()._apply(fn, recurse)
        return self

    @property
    def image_network(self) -> nn.Module:
        """The network that sees images, for whoever must know its parameters."""
        return self._model

    @property
    def quick_gelu(self) -> bool:
        """Whether its activation is QuickGELU, as in OpenAI's CLIPs."""
        return any(isinstance(module, QuickGELU) for module in self._model.modules())

    def described(self) -> dict[str, str | bool]:
        """Which CLIP it is and how it is run: what a weight file says, to load it so again."""
        return {
            **self.identity.as_dict(),
            "antialias": self.antialias,
            "quick_gelu": self.quick_gelu,
        }

    @property
    @abstractmethod
    def image_size(self) -> tuple[int, int]:
        """Height and width that the tower expects."""

    @property
    @abstractmethod
    def block_count(self) -> int:
        """Transformer blocks of the tower; 0 for a ResNet."""

    @property
    @abstractmethod
    def block_width(self) -> int:
        """W, of a block's tokens (768 for ViT-B/32)."""

    @abstractmethod
    def _block_tokens(self, x: Tensor, blocks: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Class token (B, W) and patches' tokens (B, N, W) behind each block, of preprocessed images.

        Args:
            x: (B, 3, h, w).
            blocks: each once, ascending.
        """

    @property
    def has_blocks(self) -> bool:
        """Whether the tower is a ViT, which :meth:`block_features` needs."""
        return self.block_count > 0

    def preprocess(self, images: Tensor) -> Tensor:
        """Resize (bilinear) to the tower's size and normalise: (B, 3, H, W) in [0, 1] to (B, 3, h, w).

        Gradients pass.
        """
        if tuple(images.shape[-2:]) != self.image_size:
            images = F.interpolate(
                images, self.image_size, mode="bilinear", antialias=self.antialias, align_corners=False
            )
        return (images - self._mean) / self._std

    def block_features(self, images: Tensor, blocks: Sequence[int], token: Token = "class") -> list[Tensor]:
        """What the given transformer blocks, counted from 1, make of images (ViT towers): (B, W) each.

        Args:
            images: (B, 3, H, W) in [0, 1]; gradients reach them.
            blocks: in any order.
            token: what stands for a block.

        Raises:
            TypeError: the tower has no transformer blocks.
            ValueError: it has no such block.
        """
        if not self.has_blocks:
            raise TypeError(
                f"{self.identity.model} has no transformer blocks; ask for stage_features, or use a ViT."
            )
        if not all(1 <= block <= self.block_count for block in blocks):
            raise ValueError(f"{self.identity.model} has blocks 1 to {self.block_count}, not {list(blocks)}.")
        ascending = sorted(set(blocks))
        tokens = self._block_tokens(self.preprocess(images), ascending)
        found = {
            block: class_token if token == "class" else patches.mean(dim=1)
            for block, (class_token, patches) in zip(ascending, tokens, strict=True)
        }
        return [found[block] for block in blocks]

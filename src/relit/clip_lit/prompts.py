"""The prompt pair: a negative and a positive sentence that exist only in CLIP's token-embedding space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from relit.errors import ConfigurationError


class TextTower(Protocol):
    """What prompts need of CLIP."""

    def token_embeddings(self, texts: list[str], /) -> tuple[Tensor, Tensor]:
        """Embeddings (P, L, W) of the tokens of P texts, and the position of EOT (P,)."""

    def encode_embeddings(self, embeddings: Tensor, eot: Tensor, /) -> Tensor:
        """Text features (P, D) of unit norm, read off ``embeddings`` (P, L, W) at position ``eot`` (P,)."""


class PromptPair(nn.Module):
    """Learned prompts T_n (row 0) and T_p (row 1) as token embeddings (2, L, W): SOS, the context, EOT.

    CLIP's text tower is causal, so positions after EOT can't matter and are not kept: L = context + 2. Only
    trained positions are a parameter; the others can't drift through weight decay either.

    Args:
        clip: the text tower, asked for the embeddings of SOS, EOT and "X".
        context: number of context tokens N, 16 in the paper.
        trained: ``context`` trains the N context tokens, as in the paper; ``all`` also SOS and EOT, as in the
            release.
        start: ``random`` draws the context from N(0, 0.02), as in the paper; ``X`` starts both prompts as the
            text "X X ... X", as in the release.
        generator: CPU generator that ``random`` draws from.

    Raises:
        ConfigurationError: an unknown choice, ``random`` without a generator, or a tokenizer without a token
            "X".
    """

    learned: nn.Parameter
    fixed: Tensor
    positions: Tensor

    def __init__(
        self,
        clip: TextTower,
        context: int = 16,
        trained: Literal["context", "all"] = "context",
        start: Literal["random", "X"] = "random",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if trained not in ("context", "all"):
            raise ConfigurationError(f"trained of the prompts must be 'context' or 'all', not {trained!r}.")
        embeddings = _start_embeddings(clip, context, start, generator)
        positions = torch.arange(1, context + 1) if trained == "context" else torch.arange(context + 2)
        self.register_buffer("positions", positions.to(embeddings.device), persistent=False)
        self.register_buffer("fixed", embeddings)
        self.learned = nn.Parameter(embeddings[:, self.positions].clone())

    @property
    def embeddings(self) -> Tensor:
        """Both prompts, (2, L, W), negative first; gradients reach the trained positions."""
        return self.fixed.index_copy(1, self.positions, self.learned)

    def forward(self, clip: TextTower) -> Tensor:
        """Text features (2, D) of unit norm, negative first."""
        embeddings = self.embeddings
        last = embeddings.shape[1] - 1
        return clip.encode_embeddings(embeddings, torch.full((2,), last, device=embeddings.device))

    def weights(self) -> dict[str, Tensor]:
        """What a weight file keeps: ``embeddings`` (2, L, W), a copy."""
        return {"embeddings": self.embeddings.detach().clone()}

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over ``embeddings`` (2, L or more, W); positions after EOT are cut, whatever is trained here.

        Raises:
            ConfigurationError: no such tensor, or one that does not fit.
        """
        embeddings = weights.get("embeddings")
        length, width = self.fixed.shape[1:]
        if embeddings is None or embeddings.ndim != 3 or len(embeddings) != 2:
            raise ConfigurationError(
                f"the prompt weights hold no tensor 'embeddings' of shape (2, {length}, {width})."
            )
        if embeddings.shape[1] < length or embeddings.shape[2] != width:
            raise ConfigurationError(
                f"prompt embeddings of shape {tuple(embeddings.shape)} do not fit (2, {length}, {width}): "
                "another number of context tokens, or another CLIP."
            )
        self.fixed.copy_(embeddings[:, :length])
        self.learned.copy_(self.fixed[:, self.positions])


class FixedPrompts(nn.Module):
    """The ablation: a negative and a positive phrase in plain words, not trained.

    Args:
        phrases: (negative, positive), such as ("backlit", "well-lit").

    Raises:
        ConfigurationError: not exactly two phrases.
    """

    def __init__(self, phrases: Sequence[str]) -> None:
        super().__init__()
        if isinstance(phrases, str) or len(phrases) != 2:
            raise ConfigurationError(f"phrases must be a negative and a positive phrase, not {phrases!r}.")
        self.phrases = [str(phrase) for phrase in phrases]

    @torch.no_grad()
    def forward(self, clip: TextTower) -> Tensor:
        """Text features (2, D) of unit norm, negative first.

        Raises:
            ConfigurationError: to this CLIP's tokenizer a phrase is empty or too long, or both are the same.
        """
        embeddings, eot = clip.token_embeddings(self.phrases)
        for phrase, end in zip(self.phrases, eot.tolist(), strict=True):
            if end == 1:
                raise ConfigurationError(f"phrases: {phrase!r} holds no word. Say it in words.")
        if torch.equal(embeddings[0], embeddings[1]):
            raise ConfigurationError(
                f"phrases: {self.phrases[0]!r} and {self.phrases[1]!r} are the same to CLIP, so S would be "
                "0.5 for every photograph. Give two different phrases."
            )
        return clip.encode_embeddings(embeddings[:, : int(eot.max()) + 1], eot)


@torch.no_grad()
def _start_embeddings(clip: TextTower, context: int, start: str, generator: torch.Generator | None) -> Tensor:
    """SOS, ``context`` start tokens, EOT, twice: (2, context + 2, W)."""
    empty, _ = clip.token_embeddings([""])
    if empty.shape[1] < context + 2:
        raise ConfigurationError(f"{context} context tokens do not fit in CLIP's {empty.shape[1]} positions.")
    if start == "X":
        tokens, eot = clip.token_embeddings([" ".join(["X"] * context)])
        if int(eot[0]) != context + 1:
            raise ConfigurationError(
                "this CLIP's tokenizer has no token \"X\": set the prompts' start to random."
            )
        return tokens[:, : context + 2].float().repeat(2, 1, 1)
    if start != "random":
        raise ConfigurationError(f"start of the prompts must be 'random' or 'X', not {start!r}.")
    if generator is None:
        raise ConfigurationError("prompts with start 'random' need a generator.")
    middle = 0.02 * torch.randn(2, context, empty.shape[2], generator=generator)
    sos, end = empty[:, :1].float(), empty[:, 1:2].float()
    return torch.cat([sos.expand(2, -1, -1), middle.to(sos), end.expand(2, -1, -1)], dim=1)

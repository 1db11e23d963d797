"""A word-level tokenizer for the embedded CLIP's small vocabulary."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from relit.errors import ConfigurationError


class WordTokenizer:
    """Words to tokens, as CLIP expects them: start, words, end, zeros.

    Token 0 pads, words follow in the order given, then start and end. The end token is the largest, so that
    CLIP's pooling by ``argmax`` finds it.
    """

    def __init__(self, words: list[str], context_length: int) -> None:
        self.index = {word: i + 1 for i, word in enumerate(words)}
        self.context_length = context_length
        self.start, self.end = len(words) + 1, len(words) + 2
        self.vocab_size = len(words) + 3

    def __call__(self, texts: str | list[str]) -> Tensor:
        """Tokenize to int64 (P, context_length).

        Raises:
            ConfigurationError: a word is not in the vocabulary, or a text has too many words.
        """
        rows = [self._row(text) for text in ([texts] if isinstance(texts, str) else texts)]
        return torch.tensor(rows, dtype=torch.int64)

    def _row(self, text: str) -> list[int]:
        words = re.findall(r"[a-z]+", text.lower())
        unknown = [word for word in words if word not in self.index]
        if unknown:
            raise ConfigurationError(
                f"The embedded CLIP does not know {', '.join(map(repr, unknown))} (in {text!r}). It knows: "
                f"{' '.join(self.index)}. Use these words, or a full CLIP: clip=openai."
            )
        row = [self.start, *(self.index[word] for word in words), self.end]
        if len(row) > self.context_length:
            raise ConfigurationError(
                f"{text!r} has {len(words)} words; at most {self.context_length - 2} fit."
            )
        return row + [0] * (self.context_length - len(row))

"""Words to tokens as CLIP's pooling expects them."""

from __future__ import annotations

import pytest
import torch

from relit.errors import ConfigurationError
from relit.tiny_clip.architecture import CONTEXT_LENGTH, tokenizer
from relit.tiny_clip.tokenizer import WordTokenizer


def test_start_words_end_zeros() -> None:
    assert WordTokenizer(["lit", "well"], 6)(["well lit", "lit"]).tolist() == [
        [3, 2, 1, 4, 0, 0],
        [3, 1, 4, 0, 0, 0],
    ]


def test_the_end_is_where_argmax_pools() -> None:
    texts = ["", "dark", "a photo of a scene well lit in focus"]
    tokens = tokenizer()(texts)
    assert tokens.dtype == torch.int64
    assert tokens.argmax(1).tolist() == [len(text.split()) + 1 for text in texts]
    assert int(tokens.max()) < tokenizer().vocab_size


def test_words_can_be_read_back() -> None:
    tokenize = tokenizer()
    words = {token: word for word, token in tokenize.index.items()}
    assert len(words) == len(tokenize.index)
    row = tokenize("A backlit photo").tolist()[0]
    assert [words[token] for token in row if token in words] == ["a", "backlit", "photo"]


def test_case_hyphens_and_punctuation_do_not_matter() -> None:
    tokenize = tokenizer()
    assert torch.equal(tokenize("Well-lit, SHARP."), tokenize("well lit sharp"))


def test_an_unknown_word_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        tokenizer()(["a dark photo", "a dark zebra"])
    message = str(refusal.value)
    for part in ("'zebra'", "a dark zebra", "backlit", "clip=openai"):
        assert part in message
    assert "'dark'" not in message


def test_a_text_fills_the_context_and_no_more() -> None:
    longest = " ".join(["dark"] * (CONTEXT_LENGTH - 2))
    assert (tokenizer()(longest) != 0).all()
    with pytest.raises(ConfigurationError, match="at most 75"):
        tokenizer()(longest + " dark")

"""Captions say what is true, in words the tokenizer knows."""

from __future__ import annotations

from itertools import permutations, product

import torch
from torch import Tensor

from relit.keyed import keyed_generator
from relit.tiny_clip.architecture import tokenizer
from relit.tiny_clip.attributes import AXES, TEMPLATES, UNNAMED, caption, true_of

AXIS_PHRASES = list(AXES.values())


def drawn_classes(count: int) -> Tensor:
    """Random classes of ``count`` pictures, (count, A)."""
    generator = torch.Generator().manual_seed(0)
    return torch.stack([torch.randint(len(axis), (count,), generator=generator) for axis in AXIS_PHRASES], 1)


def captions(count: int) -> list[tuple[Tensor, str, Tensor]]:
    """Classes of a picture, its caption, the classes that the caption names."""
    pictures = drawn_classes(count)
    return [(row, *caption(row, keyed_generator("caption", i))) for i, row in enumerate(pictures)]


def sayings(named: Tensor) -> set[str]:
    """Every text that names these classes and nothing else."""
    axes = [axis for axis, cls in enumerate(named.tolist()) if cls != UNNAMED]
    texts = set()
    for template, order in product(TEMPLATES, permutations(axes)):
        for phrases in product(*(AXIS_PHRASES[axis][int(named[axis])] for axis in order)):
            texts.add(" ".join([template, *phrases]).strip())
    return texts


def test_a_caption_names_only_what_is_true() -> None:
    for classes, text, named in captions(150):
        assert text in sayings(named)
        spoken = named != UNNAMED
        assert 1 <= int(spoken.sum()) <= 3
        assert torch.equal(named[spoken], classes[spoken])


def test_most_captions_speak_of_exposure_and_all_axes_are_spoken_of() -> None:
    spoken = torch.stack([named != UNNAMED for _, _, named in captions(400)]).float().mean(0)
    assert spoken[0] > 0.6
    assert (spoken[1:] > 0.15).all()


def test_a_phrase_means_one_class_only() -> None:
    phrases = [phrase for axis in AXIS_PHRASES for words in axis for phrase in words]
    assert len(set(phrases)) == len(phrases)


def test_every_caption_can_be_tokenized() -> None:
    tokenize = tokenizer()
    phrases = [phrase for axis in AXIS_PHRASES for words in axis for phrase in words]
    texts = [f"{template} {phrase}" for template, phrase in product(TEMPLATES, phrases)]
    tokens = tokenize([*texts, *(text for _, text, _ in captions(150))])
    assert (tokens == tokenize.end).sum(1).eq(1).all()


def test_true_of_by_brute_force() -> None:
    pictures = drawn_classes(20)
    named = torch.stack([named for _, _, named in captions(25)])
    found = true_of(pictures, named)
    assert found.shape == (20, 25)
    for i, j in product(range(20), range(25)):
        pairs = zip(pictures[i].tolist(), named[j].tolist(), strict=True)
        assert bool(found[i, j]) == all(says in (UNNAMED, cls) for cls, says in pairs)


def test_a_caption_is_true_of_its_own_picture() -> None:
    drawn = captions(60)
    pictures = torch.stack([classes for classes, _, _ in drawn])
    named = torch.stack([named for _, _, named in drawn])
    assert true_of(pictures, named).diagonal().all()
    assert true_of(pictures, torch.full_like(named, UNNAMED)).all()

"""The prompt pair on a real (tiny) text transformer of open_clip."""

from __future__ import annotations

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from torch import Tensor

from relit.clip_lit.losses import prompt_initialisation_loss
from relit.clip_lit.prompts import FixedPrompts, PromptPair
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator

WIDTH, DIM, POSITIONS = 32, 24, 77


class TinyText:
    """A CLIP with random weights: its text tower is the real causal transformer with the real tokenizer."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            vision = CLIPVisionCfg(layers=1, width=16, head_width=8, patch_size=16, image_size=16)
            text = CLIPTextCfg(context_length=POSITIONS, width=WIDTH, heads=4, layers=2)
            self.model = open_clip.CLIP(DIM, vision, text).requires_grad_(False).eval()
            self.model.token_embedding.weight.normal_()
            self.model.positional_embedding.normal_()
        self.tokenize = open_clip.SimpleTokenizer()

    def token_embeddings(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        tokens = self.tokenize(texts)
        return self.model.token_embedding(tokens), tokens.argmax(-1)

    def encode_embeddings(self, embeddings: Tensor, eot: Tensor) -> Tensor:
        length = embeddings.shape[1]
        x = embeddings + self.model.positional_embedding[:length]
        x = self.model.transformer(x, attn_mask=self.model.attn_mask[:length, :length])
        x = self.model.ln_final(x)[torch.arange(len(x)), eot] @ self.model.text_projection
        return F.normalize(x, dim=-1)


class NoX(TinyText):
    """A tokenizer that splits what it does not know: "X" becomes two tokens."""

    def token_embeddings(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        return super().token_embeddings([text.replace("X", "X -") for text in texts])


@pytest.fixture(scope="module")
def clip() -> TinyText:
    return TinyText()


def random_pair(clip: TinyText, **changes: object) -> PromptPair:
    return PromptPair(clip, generator=keyed_generator(0), **changes)  # type: ignore[arg-type]


def test_start_x_is_the_text_itself(clip: TinyText) -> None:
    prompts = PromptPair(clip, start="X")
    assert prompts.embeddings.shape == (2, 18, WIDTH)
    expected = clip.model.encode_text(clip.tokenize([" ".join("X" * 16)] * 2), normalize=True)
    torch.testing.assert_close(prompts(clip), expected)


def test_cut_after_eot_equals_all_77_positions(clip: TinyText) -> None:
    prompts = random_pair(clip)
    for seed in range(2):  # whatever follows EOT
        rest = torch.randn(2, POSITIONS - 18, WIDTH, generator=keyed_generator("rest", seed))
        padded = torch.cat([prompts.embeddings, rest], dim=1)
        full = clip.encode_embeddings(padded, torch.tensor([17, 17]))
        torch.testing.assert_close(prompts(clip), full, atol=1e-6, rtol=1e-5)


def test_random_start_lies_between_clips_own_sos_and_eot(clip: TinyText) -> None:
    embeddings = random_pair(clip, context=16).embeddings.detach()
    sos, eot = clip.model.token_embedding(clip.tokenize([""])[0, :2])
    assert torch.equal(embeddings[:, 0], sos.expand(2, -1))
    assert torch.equal(embeddings[:, -1], eot.expand(2, -1))
    context = embeddings[:, 1:-1]
    assert context.std().item() == pytest.approx(0.02, rel=0.1)
    assert not torch.equal(context[0], context[1])
    assert torch.equal(embeddings, random_pair(clip).embeddings)
    other = PromptPair(clip, generator=keyed_generator(1)).embeddings
    assert not torch.equal(embeddings[:, 1:-1], other[:, 1:-1])


def test_forward_gives_unit_features_negative_first(clip: TinyText) -> None:
    prompts = random_pair(clip)
    features = prompts(clip)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    flipped = random_pair(clip)
    flipped.load({"embeddings": prompts.weights()["embeddings"].flip(0)})
    torch.testing.assert_close(flipped(clip), features.flip(0))


@pytest.mark.parametrize(("trained", "count"), [("context", 16), ("all", 18)])
def test_only_trained_positions_move_even_under_weight_decay(
    clip: TinyText, trained: str, count: int
) -> None:
    prompts = random_pair(clip, trained=trained)
    assert sum(p.numel() for p in prompts.parameters()) == 2 * count * WIDTH
    before = prompts.weights()["embeddings"]
    optimiser = torch.optim.Adam(prompts.parameters(), lr=1e-2, weight_decay=0.1)
    images = F.normalize(torch.randn(4, DIM, generator=keyed_generator("images")), dim=-1)
    for _ in range(2):
        optimiser.zero_grad()
        prompt_initialisation_loss(images, torch.tensor([0, 0, 1, 1]), prompts(clip)).backward()
        optimiser.step()
    moved = (prompts.weights()["embeddings"] - before).abs().sum(-1) > 0
    expected = [trained == "all", *[True] * 16, trained == "all"]
    assert moved.tolist() == [expected, expected]


def test_the_pair_learns_to_tell_two_kinds_of_images_apart(clip: TinyText) -> None:
    prompts = PromptPair(clip, start="X", trained="all")  # both prompts equal: the labels must part them
    centre = torch.randn(2, DIM, generator=keyed_generator("centre")).repeat_interleave(4, 0)
    images = F.normalize(centre + 0.3 * torch.randn(8, DIM, generator=keyed_generator("images")), dim=-1)
    labels = torch.tensor([0] * 4 + [1] * 4)
    optimiser = torch.optim.Adam(prompts.parameters(), lr=0.1)
    losses = []
    for _ in range(15):
        loss = prompt_initialisation_loss(images, labels, prompts(clip), logit_scale=10.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert losses[-1] < 0.35
    scores = images @ prompts(clip).detach().T
    assert scores.argmax(1).tolist() == labels.tolist()


@pytest.mark.parametrize("trained", ["context", "all"])
def test_weights_round_trip_and_are_a_copy(clip: TinyText, trained: str) -> None:
    prompts = random_pair(clip, trained=trained)
    weights = prompts.weights()
    assert not weights["embeddings"].requires_grad
    kept = weights["embeddings"].clone()
    with torch.no_grad():
        prompts.learned.add_(1)
    assert torch.equal(weights["embeddings"], kept)
    other = PromptPair(clip, start="X", trained="all" if trained == "context" else "context")
    other.load(prompts.weights())
    assert torch.equal(other.embeddings, prompts.embeddings)
    torch.testing.assert_close(other(clip), prompts(clip))


def test_state_dict_restores_the_pair(clip: TinyText) -> None:
    prompts, other = random_pair(clip), PromptPair(clip, start="X")
    other.load_state_dict(prompts.state_dict())
    assert torch.equal(other.embeddings, prompts.embeddings)


def test_weights_of_77_positions_are_cut_after_eot_and_mean_the_same(clip: TinyText) -> None:
    released = torch.randn(2, POSITIONS, WIDTH, generator=keyed_generator("released"))
    prompts = PromptPair(clip, start="X", trained="all")
    prompts.load({"embeddings": released})
    assert torch.equal(prompts.embeddings, released[:, :18])
    expected = clip.encode_embeddings(released, torch.tensor([17, 17]))
    torch.testing.assert_close(prompts(clip), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", [(2, 17, WIDTH), (2, 18, WIDTH + 1), (3, 18, WIDTH), (18, WIDTH)], ids=str)
def test_weights_that_do_not_fit_are_refused(clip: TinyText, shape: tuple[int, ...]) -> None:
    prompts = random_pair(clip)
    before = prompts.embeddings.clone()
    with pytest.raises(ConfigurationError, match=str(WIDTH)):
        prompts.load({"embeddings": torch.zeros(shape)})
    with pytest.raises(ConfigurationError, match="embeddings"):
        prompts.load({})
    assert torch.equal(prompts.embeddings, before)


def test_fixed_prompts_are_the_encoded_phrases(clip: TinyText) -> None:
    phrases = [
        "backlit",
        "a well-lit photograph of a house",
    ]  # different lengths: each is read at its own EOT
    prompts = FixedPrompts(phrases)
    expected = clip.model.encode_text(clip.tokenize(phrases), normalize=True)
    torch.testing.assert_close(prompts(clip), expected, atol=1e-6, rtol=1e-5)
    assert list(prompts.parameters()) == []
    for wrong in (["one"], ["a", "b", "c"], "ab"):
        with pytest.raises(ConfigurationError, match="negative and a positive"):
            FixedPrompts(wrong)


@pytest.mark.parametrize("phrases", [["", "well-lit"], ["backlit", "  \t"]], ids=str)
def test_a_phrase_without_words_is_refused(clip: TinyText, phrases: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="holds no word"):
        FixedPrompts(phrases)(clip)


@pytest.mark.parametrize("twin", ["a dark photo", "A  dark photo "])
def test_phrases_that_are_one_to_clip_are_refused(clip: TinyText, twin: str) -> None:
    with pytest.raises(ConfigurationError, match=r"same to CLIP.*0\.5"):
        FixedPrompts(["a dark photo", twin])(clip)
    FixedPrompts(["a dark photo", "a dark photos"])(clip)


def test_mistakes_are_configuration_errors(clip: TinyText) -> None:
    with pytest.raises(ConfigurationError, match="some"):
        random_pair(clip, trained="some")
    with pytest.raises(ConfigurationError, match="Y"):
        random_pair(clip, start="Y")
    with pytest.raises(ConfigurationError, match="generator"):
        PromptPair(clip)
    with pytest.raises(ConfigurationError, match="77 positions"):
        random_pair(clip, context=76)
    with pytest.raises(ConfigurationError, match="random"):
        PromptPair(NoX(), start="X")


def test_a_tokenizer_without_x_still_gives_a_random_start() -> None:
    other = NoX()
    embeddings = random_pair(other).embeddings
    eot = other.model.token_embedding(other.tokenize([""])[0, 1])
    assert embeddings.shape == (2, 18, WIDTH)
    assert torch.equal(embeddings[:, -1], eot.expand(2, -1))

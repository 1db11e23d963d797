"""The frozen CLIP says what open_clip's own model says, lets gradients pass and stays out of its parent."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as vision

from relit.clip import ClipIdentity, FrozenClip, check_clip
from relit.clip_loading import EMBEDDED_FILE, UncutTokenizer, load_clip
from relit.errors import ConfigurationError
from relit.tiny_clip import architecture as tiny

TEXTS = ["backlit", "a photo well lit in natural colour", "very dark grey noisy picture"]


def plain_model(tower: str) -> open_clip.CLIP:
    """The embedded weights in a bare open_clip model."""
    model = tiny.build(tower).requires_grad_(False).eval()
    weights = load_file(Path(str(files("relit.assets"))) / EMBEDDED_FILE)
    own = tiny.split_weights(weights, tower)
    model.load_state_dict({name: tensor.float() for name, tensor in own.items()})
    return model


def normalised(images: Tensor) -> Tensor:
    return vision.normalize(images, list(tiny.IMAGE_MEAN), list(tiny.IMAGE_STD))


def pictures(count: int, *size: int) -> Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(count))


@pytest.fixture(scope="module", params=list(tiny.VISION))
def tower(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def clip(tower: str) -> FrozenClip:
    return load_clip(tower, "embedded")


@pytest.fixture(scope="module")
def model(tower: str) -> open_clip.CLIP:
    return plain_model(tower)


# --- features ---


def test_image_features_are_open_clips(clip: FrozenClip, model: open_clip.CLIP) -> None:
    images = pictures(2, *clip.image_size)
    expected = model.encode_image(normalised(images), normalize=True)
    torch.testing.assert_close(clip.encode_image(images), expected)


def test_other_sizes_are_resized_to_the_towers(clip: FrozenClip, model: open_clip.CLIP) -> None:
    images = pictures(1, 150, 201)
    resized = vision.resize(images, list(clip.image_size), antialias=True)
    expected = model.encode_image(normalised(resized), normalize=True)
    torch.testing.assert_close(clip.encode_image(images), expected)


def test_text_features_are_open_clips(clip: FrozenClip, model: open_clip.CLIP) -> None:
    expected = model.encode_text(tiny.tokenizer()(TEXTS), normalize=True)
    torch.testing.assert_close(clip.encode_text(TEXTS), expected)


def test_text_cut_after_eot_equals_all_77_positions(clip: FrozenClip, model: open_clip.CLIP) -> None:
    embeddings, eot = clip.token_embeddings(TEXTS)
    assert embeddings.shape == (3, 77, clip.width)
    assert eot.tolist() == [len(text.split()) + 1 for text in TEXTS]
    expected = model.encode_text(tiny.tokenizer()(TEXTS), normalize=True)
    for length in (int(eot.max()) + 1, 18, 77):
        torch.testing.assert_close(clip.encode_embeddings(embeddings[:, :length], eot), expected)


def test_nothing_after_eot_matters_and_everything_before_does(clip: FrozenClip) -> None:
    embeddings, eot = clip.token_embeddings(TEXTS[:1])
    features = clip.encode_embeddings(embeddings, eot)
    after, before = embeddings.clone(), embeddings.clone()
    after[:, int(eot) + 1 :] += torch.randn(clip.width)
    before[:, int(eot) - 1] += torch.randn(clip.width)
    torch.testing.assert_close(clip.encode_embeddings(after, eot), features)
    assert (clip.encode_embeddings(before, eot) - features).abs().max() > 1e-3


def test_antialiasing_is_a_choice() -> None:
    stripes = torch.arange(256).remainder(2).float().expand(1, 3, 256, 256).clone()
    smooth = load_clip("tiny-ViT", "embedded", antialias=True).preprocess(stripes)
    sharp = load_clip("tiny-ViT", "embedded", antialias=False).preprocess(stripes)
    plain = F.interpolate(stripes, (128, 128), mode="bilinear", antialias=False)
    torch.testing.assert_close(sharp, normalised(plain))
    torch.testing.assert_close(smooth[..., 4:-4], normalised(torch.full((1, 3, 128, 120), 0.5)))


# --- texts that fit ---


def test_texts_that_fit_are_tokenized_as_open_clip_does() -> None:
    plain = open_clip.get_tokenizer("ViT-B-32")
    uncut = UncutTokenizer(plain)
    longest = " ".join(["dark"] * 75)
    for texts in (TEXTS, [longest], ["", "é ☀ naïve"]):
        assert torch.equal(uncut(texts), plain(texts))


def test_a_text_that_open_clip_would_cut_is_refused() -> None:
    plain = open_clip.get_tokenizer("ViT-B-32")
    words = ["dark"] * 76
    assert torch.equal(plain([" ".join(words)]), plain([" ".join(words[:-1])]))  # the last word is lost
    with pytest.raises(ConfigurationError, match=r"'dark dark .* 78 tokens .* at most 77"):
        UncutTokenizer(plain)(["well-lit", " ".join(words)])


# --- prompts belong to one CLIP ---

OPENAI = {"model": "ViT-B-32", "source": "openai"}


@pytest.mark.parametrize(
    ("trained", "model", "source", "digest"),
    [
        (OPENAI, "ViT-B-32", "openai", "0a"),
        (OPENAI, "ViT-B-32-quickgelu", "openai", "0a"),
        (OPENAI, "ViT-B-32", "ViT-B-32.pt", "0a"),  # a local copy
        ({**OPENAI, "digest": "0a"}, "ViT-B-32", "some_tag", "0a"),  # the same weights by another name
    ],
)
def test_the_clip_that_prompts_were_trained_with_is_accepted(
    trained: dict[str, str], model: str, source: str, digest: str
) -> None:
    check_clip({"clip": {"prompts": trained}}, {"prompts": ClipIdentity(model, source, digest)}, "w")


@pytest.mark.parametrize(
    ("trained", "model", "source", "digest"),
    [
        (OPENAI, "tiny-ResNet", "embedded", "0a"),
        (OPENAI, "ViT-B-32", "laion2b_s34b_b79k", "0a"),
        ({**OPENAI, "digest": "0a"}, "ViT-B-32", "openai", "0b"),
        ({**OPENAI, "digest": "0a"}, "ViT-B-32", "ViT-B-32.pt", "0b"),
    ],
)
def test_another_clip_than_the_prompts_were_trained_with_is_refused(
    trained: dict[str, str], model: str, source: str, digest: str
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        check_clip({"clip": {"prompts": trained}}, {"prompts": ClipIdentity(model, source, digest)}, "w.st")
    for part in ("w.st", "ViT-B-32 (openai", f"{model} ({source}, {digest})", "clip.prompts"):
        assert part in str(refusal.value)


def test_where_no_prompts_meet_a_clip_any_will_do() -> None:
    tiny_clip = ClipIdentity("tiny-ResNet", "embedded", "0a")
    check_clip({}, {"prompts": tiny_clip}, "w")
    check_clip({"clip": {"identity": OPENAI}}, {"prompts": tiny_clip}, "w")
    check_clip({"clip": {"prompts": OPENAI}}, {"identity": tiny_clip}, "w")


# --- gradients ---


def test_gradients_reach_the_pixels(clip: FrozenClip) -> None:
    double = load_clip(clip.identity.model, "embedded").to(torch.float64)
    images = pictures(1, 140, 132).double().requires_grad_(True)
    target = torch.randn(1, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def score(x: Tensor) -> Tensor:
        return (double.encode_image(x) * target).sum()

    (gradient,) = torch.autograd.grad(score(images), images)
    direction = gradient / gradient.norm()
    with torch.no_grad():
        slope = (score(images + 1e-5 * direction) - score(images - 1e-5 * direction)) / 2e-5
    torch.testing.assert_close(slope, gradient.norm(), rtol=1e-4, atol=0)


def test_gradients_reach_prompt_embeddings_and_no_weight(clip: FrozenClip) -> None:
    embeddings, eot = clip.token_embeddings(TEXTS[:1])
    embeddings = embeddings[:, :18].clone().requires_grad_(True)
    clip.encode_embeddings(embeddings, eot)[0, 0].backward()
    assert embeddings.grad is not None
    reached = embeddings.grad[0].abs().sum(-1) > 0
    assert reached.nonzero().flatten().tolist() == list(range(int(eot) + 1))
    assert all(parameter.grad is None for parameter in clip._model.parameters())


# --- a dependency, not a passenger ---


class Parent(nn.Module):
    def __init__(self, clip: FrozenClip) -> None:
        super().__init__()
        self.clip, self.layer = clip, nn.Linear(2, 2)


def test_the_parent_neither_trains_nor_saves_it(tower: str) -> None:
    parent = Parent(load_clip(tower, "embedded"))
    assert {name for name, _ in parent.named_parameters()} == {"layer.weight", "layer.bias"}
    assert set(parent.state_dict()) == {"layer.weight", "layer.bias"}
    assert not list(parent.clip.buffers())


def test_it_is_cast_with_its_parent(tower: str, clip: FrozenClip) -> None:
    parent = Parent(load_clip(tower, "embedded"))
    images = pictures(1, *clip.image_size)
    assert parent.clip.encode_image(images).dtype == torch.float32
    parent.to(torch.float64)
    features = parent.clip.encode_image(images.double())
    assert features.dtype == torch.float64
    assert parent.clip.encode_text(TEXTS).dtype == torch.float64
    torch.testing.assert_close(features.float(), clip.encode_image(images), rtol=1e-3, atol=1e-4)


def test_it_moves_with_its_parent(tower: str) -> None:
    parent = Parent(load_clip(tower, "embedded")).to("meta")
    assert parent.clip.encode_image(torch.rand(1, 3, 50, 50, device="meta")).device.type == "meta"
    assert parent.clip.token_embeddings(TEXTS)[0].device.type == "meta"


def test_it_stays_in_eval_when_its_parent_trains(tower: str) -> None:
    parent = Parent(load_clip(tower, "embedded"))
    images = pictures(4, *parent.clip.image_size)
    before = parent.clip.encode_image(images)
    state = {name: tensor.clone() for name, tensor in parent.clip._model.state_dict().items()}
    parent.train()
    torch.testing.assert_close(parent.clip.encode_image(images), before)
    torch.testing.assert_close(parent.clip.encode_image(images[:1]), before[:1])
    assert all(torch.equal(tensor, state[name]) for name, tensor in parent.clip._model.state_dict().items())


# --- block and stage features ---


def hooked(modules: list[nn.Module], run: Any) -> list[Tensor]:
    """What each module gave while ``run()``."""
    outputs: list[Tensor] = []
    handles = [module.register_forward_hook(lambda _m, _i, out: outputs.append(out)) for module in modules]
    run()
    for handle in handles:
        handle.remove()
    return outputs


def test_block_features_are_the_class_tokens_after_the_blocks() -> None:
    clip, model = load_clip("tiny-ViT", "embedded"), plain_model("tiny-ViT")
    images = pictures(2, 128, 128)
    blocks = [model.visual.transformer.resblocks[i] for i in (2, 5, 8, 11)]
    expected = [tokens[:, 0] for tokens in hooked(blocks, lambda: model.encode_image(normalised(images)))]
    for found, wanted in zip(clip.block_features(images, [3, 6, 9, 12]), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_block_features_come_in_the_order_asked_for() -> None:
    clip, images = load_clip("tiny-ViT", "embedded"), pictures(1, 128, 128)
    third, ninth = clip.block_features(images, [3, 9])
    torch.testing.assert_close(clip.block_features(images, [9, 3, 9]), [ninth, third, ninth])


def test_stage_features_are_stem_and_four_layers() -> None:
    clip, model = load_clip("tiny-ResNet", "embedded"), plain_model("tiny-ResNet")
    images, visual = pictures(2, 128, 128), model.visual
    stages = [visual.avgpool, visual.layer1, visual.layer2, visual.layer3, visual.layer4]
    expected = hooked(stages, lambda: model.encode_image(normalised(images)))
    found = clip.stage_features(images)
    assert [tuple(stage.shape[-2:]) for stage in found] == [(32, 32), (32, 32), (16, 16), (8, 8), (4, 4)]
    for one, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(one, wanted)


def test_the_wrong_tower_says_what_to_ask_for() -> None:
    images = pictures(1, 128, 128)
    with pytest.raises(TypeError, match="stage_features"):
        load_clip("tiny-ResNet", "embedded").block_features(images, [3])
    with pytest.raises(TypeError, match="block_features"):
        load_clip("tiny-ViT", "embedded").stage_features(images)
    with pytest.raises(ValueError, match="1 to 12"):
        load_clip("tiny-ViT", "embedded").block_features(images, [0])


@pytest.mark.parametrize("size", [(128, 128), (50, 70)])
def test_the_mean_token_is_the_mean_of_the_patches(size: tuple[int, int]) -> None:
    """Without the class token, which stands first."""
    clip, model = load_clip("tiny-ViT", "embedded"), plain_model("tiny-ViT")
    images = pictures(2, *size)
    resized = vision.resize(images, [128, 128], antialias=True)
    blocks = [model.visual.transformer.resblocks[i] for i in (2, 11)]
    tokens = hooked(blocks, lambda: model.encode_image(normalised(resized)))
    for found, wanted in zip(clip.block_features(images, [3, 12], "mean"), tokens, strict=True):
        assert wanted.shape[1] == 1 + (128 // 16) ** 2
        torch.testing.assert_close(found, wanted[:, 1:].mean(dim=1))


def test_both_tokens_come_in_the_order_asked_for() -> None:
    clip, images = load_clip("tiny-ViT", "embedded"), pictures(1, 128, 128)
    for token in ("class", "mean"):
        third, ninth = clip.block_features(images, [3, 9], token)
        torch.testing.assert_close(clip.block_features(images, [9, 3, 9], token), [ninth, third, ninth])


def test_block_count_and_width_are_the_towers() -> None:
    clip, model = load_clip("tiny-ViT", "embedded"), plain_model("tiny-ViT")
    assert clip.has_blocks
    assert clip.block_count == len(model.visual.transformer.resblocks) == 12
    *_, last = clip.block_features(pictures(1, 128, 128), range(1, clip.block_count + 1))
    assert last.shape == (1, clip.block_width)
    with pytest.raises(ValueError, match="blocks 1 to 12, not"):
        clip.block_features(pictures(1, 128, 128), [clip.block_count + 1])


def test_a_resnet_has_stages_and_no_blocks() -> None:
    resnet, vit = load_clip("tiny-ResNet", "embedded"), load_clip("tiny-ViT", "embedded")
    assert (resnet.has_blocks, resnet.block_count, resnet.has_stages) == (False, 0, True)
    assert (vit.has_blocks, vit.has_stages) == (True, False)


def test_sizes_of_openais_towers_without_their_weights() -> None:
    for name, blocks, width in (("ViT-B-32", 12, 768), ("ViT-L-14", 24, 1024), ("RN50", 0, None)):
        with torch.device("meta"):
            model = open_clip.create_model(name, pretrained=None, device="meta")
        clip = FrozenClip(model, tiny.tokenizer(), ClipIdentity(name, "none", ""), (0.5,) * 3, (0.5,) * 3)
        assert clip.block_count == blocks
        assert clip.has_blocks == (blocks > 0)
        assert width is None or clip.block_width == width

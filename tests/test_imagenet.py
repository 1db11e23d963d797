"""A ViT of timm says what timm's own model says; its weights come from files, or it is said from where."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as vision

from relit.clip_loading import load_clip
from relit.clip_restorex.losses import StructureAndPerceptionLoss
from relit.clip_restorex.prior import ClipPriors
from relit.errors import ConfigurationError
from relit.imagenet import ImageNetViT, load_imagenet_vit

MODEL = "test_vit"
"""A small ViT that timm has for tests: 160 x 160 pixels, 6 blocks of width 64."""


@pytest.fixture(scope="module")
def original() -> VisionTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model(MODEL, pretrained=False).requires_grad_(False).eval()
    assert isinstance(model, VisionTransformer)
    return model


@pytest.fixture(scope="module")
def path(original: VisionTransformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file(original.state_dict(), path)
    return path


@pytest.fixture
def tower(path: Path) -> ImageNetViT:
    return load_imagenet_vit(MODEL, str(path))


def pictures(count: int, *size: int) -> Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(count))


# --- features ---


def test_block_features_are_tokens_behind_the_blocks(tower: ImageNetViT, original: VisionTransformer) -> None:
    images, blocks, seen = pictures(2, 160, 160), (1, 3, 6), []
    handles = [
        original.blocks[block - 1].register_forward_hook(lambda _m, _i, tokens: seen.append(tokens))
        for block in blocks
    ]
    original((images - 0.5) / 0.5)
    for handle in handles:
        handle.remove()
    for found, tokens in zip(tower.block_features(images, blocks), seen, strict=True):
        torch.testing.assert_close(found, tokens[:, 0])
    for found, tokens in zip(tower.block_features(images, blocks, "mean"), seen, strict=True):
        torch.testing.assert_close(found, tokens[:, 1:].mean(dim=1))


def test_block_features_come_in_the_order_asked_for(tower: ImageNetViT) -> None:
    images = pictures(1, 160, 160)
    second, fifth = tower.block_features(images, [2, 5])
    assert not torch.allclose(second, fifth)
    torch.testing.assert_close(tower.block_features(images, [5, 2, 5]), [fifth, second, fifth])
    with pytest.raises(ValueError, match="1 to 6"):
        tower.block_features(images, [7])


def test_other_sizes_are_resized_to_the_towers(tower: ImageNetViT) -> None:
    images = pictures(1, 190, 201)
    resized = vision.resize(images, list(tower.image_size), antialias=True)
    torch.testing.assert_close(tower.block_features(images, [4]), tower.block_features(resized, [4]))


def test_it_describes_itself_as_a_clip_does(tower: ImageNetViT) -> None:
    assert (tower.image_size, tower.block_count, tower.block_width) == ((160, 160), 6, 64)
    assert tower.has_blocks
    assert tower.identity.model == MODEL
    assert tower.identity.source == "vit.safetensors"


def test_digests_tell_weights_apart(tower: ImageNetViT, original: VisionTransformer, tmp_path: Path) -> None:
    same = tmp_path / "same.pth"
    torch.save({"state_dict": original.state_dict()}, same)
    assert load_imagenet_vit(MODEL, str(same)).identity.digest == tower.identity.digest
    changed = dict(original.state_dict())
    changed["cls_token"] = changed["cls_token"] + 1e-4
    save_file(changed, tmp_path / "changed.safetensors")
    other = load_imagenet_vit(MODEL, str(tmp_path / "changed.safetensors"))
    assert other.identity.digest != tower.identity.digest


# --- a dependency, not a passenger ---


class Parent(nn.Module):
    def __init__(self, tower: ImageNetViT) -> None:
        super().__init__()
        self.tower, self.layer = tower, nn.Linear(2, 2)


def test_the_parent_moves_it_and_neither_trains_nor_saves_it(tower: ImageNetViT) -> None:
    parent = Parent(tower)
    assert {name for name, _ in parent.named_parameters()} == set(parent.state_dict())
    assert set(parent.state_dict()) == {"layer.weight", "layer.bias"}
    images = pictures(1, 160, 160)
    before = tower.block_features(images, [6])[0]
    parent.train().to(torch.float64)
    after = tower.block_features(images.double(), [6])[0]
    assert after.dtype == torch.float64
    torch.testing.assert_close(after.float(), before, rtol=1e-3, atol=1e-4)


def test_gradients_reach_the_pixels_and_no_weight(tower: ImageNetViT) -> None:
    images = pictures(1, 100, 120).requires_grad_(True)
    tower.block_features(images, [3])[0].square().sum().backward()
    assert images.grad is not None
    assert (images.grad.abs().sum(dim=1) > 0).float().mean() > 0.99
    assert all(parameter.grad is None for parameter in tower._model.parameters())


def test_priors_and_l_sap_take_it_in_a_clips_place(tower: ImageNetViT) -> None:
    images = pictures(2, 64, 48)
    priors = ClipPriors(width=tower.block_width, blocks=[1, 2, 4, 6], length=16)
    observed = priors.observe(images, tower)
    assert observed.shape == (2, 4, 64)
    assert priors(observed).shape == (2, 4, 16)
    loss = StructureAndPerceptionLoss(blocks=[1, 6])
    features = loss.features(tower, images)
    assert loss(features, features) == 0
    assert loss(features, loss.features(tower, 1 - images)) > 0


# --- where weights come from ---


def test_a_tag_out_of_reach_says_what_was_tried_and_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigurationError) as refusal:
        load_imagenet_vit(MODEL, "r160_in1k")
    for part in (
        MODEL,
        "r160_in1k",
        "/timm/test_vit.r160_in1k",
        "model.safetensors",
        "clip.prior.pretrained=",
    ):
        assert part in str(refusal.value)


def test_unknown_model_and_tag_list_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match=r"no model 'vit_base_patch32_244'.*vit_base_patch32_224"):
        load_imagenet_vit("vit_base_patch32_244", "augreg_in1k")
    with pytest.raises(ConfigurationError, match="behind the dot"):
        load_imagenet_vit("vit_base_patch32_224.augreg_in1k", "augreg_in1k")
    with pytest.raises(ConfigurationError, match=r"(?s)'gone\.pth' is neither a file nor a tag.*r160_in1k"):
        load_imagenet_vit(MODEL, "gone.pth")


def test_weights_of_another_model_are_refused(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"vit\.safetensors can't be read as weights of test_vit2"):
        load_imagenet_vit("test_vit2", str(path))


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth", "weights.npz"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no weights")
    with pytest.raises(ConfigurationError, match=rf"{name} can't be read as weights of {MODEL}"):
        load_imagenet_vit(MODEL, str(tmp_path / name))


def test_a_file_that_would_run_code_is_refused(tower: ImageNetViT, tmp_path: Path) -> None:
    torch.save({"weights": nn.Linear(2, 2)}, tmp_path / "weights.pth")
    with pytest.raises(ConfigurationError, match="can't be read"):
        load_imagenet_vit(MODEL, str(tmp_path / "weights.pth"))


def test_a_model_without_class_token_is_refused(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", pretrained=False)
    save_file(network.state_dict(), tmp_path / "resnet.safetensors")
    with pytest.raises(ConfigurationError, match="test_resnet is no ViT with a class token"):
        load_imagenet_vit("test_resnet", str(tmp_path / "resnet.safetensors"))


def test_its_names_are_not_open_clips(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="unknown model 'vit_base_patch32_224'"):
        load_clip("vit_base_patch32_224", "augreg_in1k")
    with pytest.raises(ConfigurationError, match="timm has no model 'ViT-B-32'"):
        load_imagenet_vit("ViT-B-32", "openai")

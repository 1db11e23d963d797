"""Two towers in one file."""

from __future__ import annotations

import open_clip
import pytest
import torch

from relit.tiny_clip.architecture import (
    IMAGE_SIZE,
    VISION,
    build,
    join_weights,
    share_text,
    split_weights,
    tokenizer,
)


@pytest.fixture(scope="module")
def models() -> dict[str, open_clip.CLIP]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = {tower: build(tower).requires_grad_(False).eval() for tower in VISION}
    share_text(built["tiny-ResNet"], built["tiny-ViT"])
    built["tiny-ResNet"].logit_scale.add_(0.12345)
    return built


def test_towers_share_one_text_tower(models: dict[str, open_clip.CLIP]) -> None:
    vit, resnet = models["tiny-ViT"], models["tiny-ResNet"]
    tokens = tokenizer()(["backlit", "well lit"])
    assert torch.equal(vit.encode_text(tokens), resnet.encode_text(tokens))
    own = {id(p) for p in vit.parameters()} & {id(p) for p in resnet.parameters()}
    assert own == {id(p) for name, p in vit.named_parameters() if not name.startswith(("visual", "logit"))}


def test_blocks_and_stages_exist(models: dict[str, open_clip.CLIP]) -> None:
    assert len(models["tiny-ViT"].visual.transformer.resblocks) == 12
    assert hasattr(models["tiny-ResNet"].visual, "layer4")


def test_join_and_split_round_trip(models: dict[str, open_clip.CLIP]) -> None:
    joined = join_weights(models)
    assert sum(name.endswith("token_embedding.weight") for name in joined) == 1
    for tower, model in models.items():
        state, restored = model.state_dict(), split_weights(joined, tower)
        assert restored.keys() == state.keys()
        for name, tensor in state.items():
            expected = tensor.half() if tensor.is_floating_point() and tensor.ndim else tensor
            assert torch.equal(restored[name], expected), name


def test_half_precision_keeps_the_features(models: dict[str, open_clip.CLIP]) -> None:
    joined = join_weights(models)
    images = torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    for tower, model in models.items():
        restored = build(tower).eval()
        restored.load_state_dict({n: t.float() for n, t in split_weights(joined, tower).items()})
        expected = model.encode_image(images, normalize=True)
        cosines = (restored.encode_image(images, normalize=True) * expected).sum(1)
        assert (cosines > 0.9999).all()

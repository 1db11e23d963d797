"""Where CLIPs come from, and that weights never meet the wrong activation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from relit.clip_loading import EMBEDDED_FILE, load_clip
from relit.errors import ConfigurationError
from relit.tiny_clip import architecture as tiny

PLAIN, QUICK = "relit-test", "relit-test-quickgelu"
"""A small model that open_clip is told about, and its twin with QuickGELU."""


@pytest.fixture(scope="module", autouse=True)
def _models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("model_configs")
    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    siglip = {**config, "text_cfg": {**text, "no_causal_mask": True, "pool_type": "last"}}
    written = {
        PLAIN: config,
        QUICK: {**config, "quick_gelu": True},
        "relit-test-siglip": {**siglip, "custom_text": True},
        "relit-test-wide": {**config, "embed_dim": 24},
    }
    for name, content in written.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    open_clip.add_model_config(folder)
    yield
    open_clip.factory._MODEL_CONFIG_PATHS.remove(folder)
    open_clip.factory._rescan_model_configs()


@pytest.fixture(scope="module")
def original(_models: None) -> open_clip.CLIP:
    """A QuickGELU model whose activations are large enough for the difference to show."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model(QUICK, pretrained=None).requires_grad_(False).eval()
    for name, parameter in model.named_parameters():
        if "mlp" in name:
            parameter.mul_(4)
    return model


def image_features(model: open_clip.CLIP) -> Tensor:
    mean, std = (torch.tensor(v)[:, None, None] for v in (tiny.IMAGE_MEAN, tiny.IMAGE_STD))
    return model.encode_image((IMAGES - mean) / std, normalize=True)


IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
TEXTS = ["a backlit photo", "a well-lit photo"]


def weights_file(model: open_clip.CLIP, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)
    return path


def assert_is(clip: Any, model: open_clip.CLIP) -> None:
    """Image and text features of ``clip`` are those of ``model``."""
    torch.testing.assert_close(clip.encode_image(IMAGES), image_features(model))
    tokens = open_clip.get_tokenizer(PLAIN)(TEXTS)
    torch.testing.assert_close(clip.encode_text(TEXTS), model.encode_text(tokens, normalize=True))


# --- QuickGELU ---


def test_the_wrong_activation_would_go_unnoticed(original: open_clip.CLIP) -> None:
    wrong = open_clip.create_model(PLAIN, pretrained=None).eval()
    wrong.load_state_dict(original.state_dict(), strict=True)
    difference = (image_features(wrong) - image_features(original)).abs().max()
    assert 0.001 < difference < 0.5  # similar enough to look right


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_a_file_that_shows_nothing_needs_a_declaration(
    original: open_clip.CLIP, tmp_path: Path, name: str
) -> None:
    path = weights_file(original, tmp_path / name)
    with pytest.raises(ConfigurationError, match=r"(?s)quick_gelu: true.*quick_gelu|relit-test-quickgelu"):
        load_clip(PLAIN, str(path))
    assert_is(load_clip(PLAIN, str(path), quick_gelu=True), original)
    assert_is(load_clip(QUICK, str(path)), original)


def test_declared_plain_gelu_is_plain(original: open_clip.CLIP, tmp_path: Path) -> None:
    plain = open_clip.create_model(PLAIN, pretrained=None).requires_grad_(False).eval()
    plain.load_state_dict(original.state_dict())
    path = weights_file(original, tmp_path / "weights.safetensors")
    assert_is(load_clip(PLAIN, str(path), quick_gelu=False), plain)


@pytest.mark.parametrize("quick", [True, False])
def test_the_configuration_beside_the_file_shows_it(
    original: open_clip.CLIP, tmp_path: Path, quick: bool
) -> None:
    path = weights_file(original, tmp_path / "open_clip_model.safetensors")
    beside = tmp_path / "open_clip_config.json"
    beside.write_text(json.dumps({"model_cfg": {"quick_gelu": True} if quick else {}}))
    shown = open_clip.create_model(QUICK if quick else PLAIN, pretrained=None).requires_grad_(False).eval()
    shown.load_state_dict(original.state_dict())
    assert_is(load_clip(PLAIN, str(path)), shown)
    assert_is(load_clip(PLAIN, str(path), quick_gelu=quick), shown)
    with pytest.raises(ConfigurationError, match="contradicts"):
        load_clip(PLAIN, str(path), quick_gelu=not quick)


def test_name_and_configuration_that_contradict_each_other_are_refused(
    original: open_clip.CLIP, tmp_path: Path
) -> None:
    path = weights_file(original, tmp_path / "weights.safetensors")
    with pytest.raises(ConfigurationError, match="contradicts"):
        load_clip(QUICK, str(path), quick_gelu=False)
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {}}')
    with pytest.raises(ConfigurationError, match=rf"model: {PLAIN}\."):
        load_clip(QUICK, str(path))


@pytest.mark.parametrize("text", ["{", "[]", '{"preprocess_cfg": {}}', '{"model_cfg": 3}'])
def test_a_damaged_configuration_beside_the_file_is_named(
    original: open_clip.CLIP, tmp_path: Path, text: str
) -> None:
    path = weights_file(original, tmp_path / "weights.safetensors")
    (tmp_path / "open_clip_config.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"open_clip_config\.json"):
        load_clip(PLAIN, str(path))


class Archived(nn.Module):
    """Holds tensors under the names of a state dict, as OpenAI's TorchScript archives do."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def torchscript_archive(state: dict[str, Tensor], path: Path) -> Path:
    root = Archived()
    for name, tensor in state.items():
        *parents, leaf = name.split(".")
        holder: nn.Module = root
        for parent in parents:
            if parent not in dict(holder.named_children()):
                holder.add_module(parent, Archived())
            holder = holder.get_submodule(parent)
        holder.register_buffer(leaf, tensor)
    torch.jit.save(torch.jit.script(root), str(path))
    return path


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_a_torchscript_archive_is_openais(original: open_clip.CLIP, tmp_path: Path) -> None:
    numbers = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    half = {name: tensor.half() for name, tensor in original.state_dict().items()}
    path = torchscript_archive({**half, **numbers}, tmp_path / "ViT-test.pt")
    clip = load_clip(PLAIN, str(path))
    assert_is(clip, open_clip_of(QUICK, {name: tensor.float() for name, tensor in half.items()}))
    with pytest.raises(ConfigurationError, match="contradicts"):
        load_clip(PLAIN, str(path), quick_gelu=False)


def open_clip_of(name: str, state: dict[str, Tensor]) -> open_clip.CLIP:
    model = open_clip.create_model(name, pretrained=None).requires_grad_(False).eval()
    model.load_state_dict(state)
    return model


def test_training_checkpoints_with_prefixes_are_understood(original: open_clip.CLIP, tmp_path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in original.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "epoch_3.pt")
    assert_is(load_clip(PLAIN, str(tmp_path / "epoch_3.pt"), quick_gelu=True), original)


@pytest.mark.slow
def test_real_vit_b_32_in_a_local_file_is_not_taken_for_gelu(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None).requires_grad_(False).eval()
    path = weights_file(model, tmp_path / "ViT-B-32.safetensors")
    with pytest.raises(ConfigurationError, match="ViT-B-32-quickgelu"):
        load_clip("ViT-B-32", str(path))
    clip = load_clip("ViT-B-32", str(path), quick_gelu=True)
    images = torch.rand(1, 3, 224, 224)
    mean, std = (torch.tensor(v)[:, None, None] for v in (tiny.IMAGE_MEAN, tiny.IMAGE_STD))
    expected = model.encode_image((images - mean) / std, normalize=True)
    torch.testing.assert_close(clip.encode_image(images), expected)


# --- tags ---


def give_tag(monkeypatch: pytest.MonkeyPatch, **config: Any) -> None:
    """Let open_clip know a tag ``published`` of the test model."""
    known = open_clip.pretrained._pcfg(**config)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, PLAIN, {"published": known})


def test_a_tag_brings_its_activation(
    original: open_clip.CLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # of open_clip's download cache
    path = weights_file(original, tmp_path / "published.pt")
    give_tag(monkeypatch, url=path.as_uri(), quick_gelu=True)
    clip = load_clip(PLAIN, "published")
    assert_is(clip, original)
    assert clip.identity.source == "published"


def test_a_tag_out_of_reach_says_what_was_tried_and_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigurationError) as refusal:
        load_clip("ViT-B-32", "openai")
    message = str(refusal.value)
    where = open_clip.get_pretrained_cfg("ViT-B-32", "openai")["hf_hub"].strip("/")
    for part in ("ViT-B-32", "openai", where, "clip.prompts.pretrained", "clip=tiny"):
        assert part in message


def test_a_dead_link_says_so_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    give_tag(monkeypatch, url=(tmp_path / "gone.pt").as_uri())
    with pytest.raises(ConfigurationError, match=r"(?s)gone\.pt.*pretrained=/path/to/file"):
        load_clip(PLAIN, "published")


# --- mistakes ---


def test_unknown_model_and_tag_list_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"tiny-ViT.*list_models"):
        load_clip("ViT-Z", "openai")
    with pytest.raises(ConfigurationError, match=r"(?s)openai.*clip=tiny"):
        load_clip("ViT-B-32", "opnai")
    with pytest.raises(ConfigurationError, match="experiment=tiny_clip"):
        load_clip("tiny-ViT", str(tmp_path / "gone.safetensors"))


def test_weights_of_another_model_are_refused(original: open_clip.CLIP, tmp_path: Path) -> None:
    path = weights_file(original, tmp_path / "weights.safetensors")
    with pytest.raises(ConfigurationError, match=r"weights\.safetensors does not fit"):
        load_clip("relit-test-wide", str(path), quick_gelu=True)
    with pytest.raises(ConfigurationError, match=r"weights\.safetensors does not fit"):
        load_clip("tiny-ViT", str(path))


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no weights")
    with pytest.raises(ConfigurationError, match=f"cannot read .*{name}"):
        load_clip(PLAIN, str(tmp_path / name), quick_gelu=True)
    with pytest.raises(ConfigurationError, match=name):
        load_clip("tiny-ViT", str(tmp_path / name))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": Archived()}, tmp_path / "weights.pt")
    with pytest.raises(ConfigurationError, match="cannot read"):
        load_clip(PLAIN, str(tmp_path / "weights.pt"), quick_gelu=True)


def test_a_text_tower_that_is_not_read_at_eot_is_refused(tmp_path: Path) -> None:
    model = open_clip.create_model("relit-test-siglip", pretrained=None)
    path = weights_file(model, tmp_path / "weights.pt")
    with pytest.raises(ConfigurationError, match="relit-test-siglip"):
        load_clip("relit-test-siglip", str(path), quick_gelu=False)


# --- embedded weights and identity ---


def test_embedded_weights_are_those_of_the_package(tmp_path: Path) -> None:
    clip = load_clip("tiny-ResNet", "embedded")
    assert clip.identity.as_dict() == {
        "model": "tiny-ResNet",
        "source": "embedded",
        "digest": clip.identity.digest,
    }
    copied = tmp_path / "mine.safetensors"
    copied.write_bytes((Path(str(files("relit.assets"))) / EMBEDDED_FILE).read_bytes())
    mine = load_clip("tiny-ResNet", str(copied))
    assert mine.identity.source == "mine.safetensors"
    assert mine.identity.digest == clip.identity.digest
    images = torch.rand(1, 3, 128, 128)
    assert torch.equal(mine.encode_image(images), clip.encode_image(images))


def test_digests_tell_clips_apart(original: open_clip.CLIP, tmp_path: Path) -> None:
    assert (
        load_clip("tiny-ViT", "embedded").identity.digest
        != load_clip("tiny-ResNet", "embedded").identity.digest
    )
    same = [weights_file(original, tmp_path / name) for name in ("a.safetensors", "b.pt")]
    digests = {load_clip(PLAIN, str(path), quick_gelu=True).identity.digest for path in same}
    assert len(digests) == 1
    state = load_file(same[0])
    state["positional_embedding"][5, 3] += 1e-4
    save_file(state, tmp_path / "changed.safetensors")
    changed = load_clip(PLAIN, str(tmp_path / "changed.safetensors"), quick_gelu=True)
    assert changed.identity.digest not in digests

"""Released files are read safely, and imported weights enhance as the release does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from relit.cli import main
from relit.clip_lit.network import ResidualPPM, UNet, enhance, initialise
from relit.clip_lit.released import load_released, released_weights
from relit.errors import ConfigurationError
from relit.keyed import keyed_generator
from relit.metrics import PairMetrics, round_to_8_bits
from relit.weights import load_network_weights, read_weights

RELEASED = [
    "clip_lit/enhancement_model.pth",
    "clip_lit/init_enhancement_model.pth",
    "rave/clip_lit_unpaired.pth",
    "rave/rave_paired.pth",
    "rave/rave_unpaired.pth",
]


# --- the released forward pass, spelled out on the tensors of a checkpoint ---


def map_by_hand(state: Mapping[str, Tensor], image: Tensor, zeros: bool = False) -> Tensor:
    """The illumination map; ``zeros``: the four plain convolutions pad zeros, as the release trains."""

    def conv(x: Tensor, name: str, mode: str = "reflect") -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode=mode), state[f"{name}.weight"], state.get(f"{name}.bias"))

    def plain(x: Tensor, name: str) -> Tensor:
        return conv(x, name, "constant" if zeros else "reflect")

    def block(x: Tensor, number: int) -> Tensor:
        inner = F.leaky_relu(conv(x, f"ResidualBlock{number}.conv1"), 0.2)
        return F.leaky_relu(x + conv(inner, f"ResidualBlock{number}.conv2"), 0.2)

    def pooling(x: Tensor) -> Tensor:
        parts = [x]
        for i, bins in enumerate((1, 2, 3, 6)):
            part = F.conv2d(F.adaptive_avg_pool2d(x, bins), state[f"PPM1.features.{i}.1.weight"])
            part = F.prelu(part, state[f"PPM1.features.{i}.2.weight"])
            parts.append(F.interpolate(part, x.shape[-2:], mode="bilinear", align_corners=True))
        return F.prelu(conv(torch.cat(parts, 1), "PPM1.fuse.0", "constant"), state["PPM1.fuse.1.weight"])

    x = block(block(F.leaky_relu(plain(image, "cond1"), 0.2), 1), 2)
    x = plain(block(block(plain(pooling(x), "condx"), 3), 4), "condy")
    return F.relu(plain(block(block(x, 5), 6), "cond_add1"))


def levels_by_hand(checkpoint: Path, image: Tensor) -> Tensor:
    """The released result as an 8-bit picture: levels 0 to 255."""
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    state = {name.removeprefix("module."): tensor for name, tensor in saved.items()}
    result = torch.clamp(image / (map_by_hand(state, image) + 1e-9), 0, 1)
    return (result * 255 + 0.5).floor()


def levels_of_import(checkpoint: Path, image: Tensor, folder: Path) -> Tensor:
    """The same from our network with the weights that ``relit import`` writes."""
    assert main(["import", str(checkpoint), "-o", str(folder / "weights.safetensors")]) == 0
    weights, _ = read_weights(folder / "weights.safetensors")
    network = ResidualPPM("zeros").eval()
    load_network_weights(network, weights["enhancer"], "weights.safetensors")
    return round_to_8_bits(enhance(image, network(image))) * 255


def assert_same_picture(levels: Tensor, expected: Tensor) -> None:
    difference = (levels - expected).abs()
    assert difference.max() <= 1
    assert difference.gt(0).float().mean() < 1e-3  # a level apart only where rounding decides
    assert expected.std() > 20  # a picture, not a flat field


def photograph(path: Path, long_side: int) -> Tensor:
    """(1, 3, H, W) in [0, 1], reduced to ``long_side`` where it is larger."""
    with Image.open(path) as photo:
        photo.thumbnail((long_side, long_side), Image.Resampling.BICUBIC)
        return pixels(photo)


def pixels(photo: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(photo.convert("RGB"))).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("padding", ["reflect", "zeros"])
def test_residual_ppm_is_the_released_forward_pass(
    padding: Literal["reflect", "zeros"], training: bool
) -> None:
    network = ResidualPPM(padding).train(training)
    initialise(network, keyed_generator("lively"))
    state = {name: 3 * tensor for name, tensor in network.state_dict().items()}
    state["cond_add1.weight"].abs_()
    load_network_weights(network, state, "by hand")
    image = torch.rand(2, 3, 19, 13, generator=keyed_generator("image"))
    by_hand = map_by_hand(state, image, zeros=padding == "zeros" and training)
    assert by_hand.std() > 1e-3  # a map that says something
    torch.testing.assert_close(network(image), by_hand)


@torch.no_grad()
@pytest.mark.parametrize("name", RELEASED)
def test_imported_weights_give_the_released_result(shared: Path, tmp_path: Path, name: str) -> None:
    image = photograph(sorted((shared / "photos" / "backlit").iterdir())[0], 256)
    checkpoint = shared / "checkpoints" / name
    assert_same_picture(levels_of_import(checkpoint, image, tmp_path), levels_by_hand(checkpoint, image))


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("name", RELEASED)
def test_imported_weights_give_the_released_result_on_whole_photographs(
    shared: Path, tmp_path: Path, name: str
) -> None:
    paths, checkpoint = sorted((shared / "photos" / "backlit").iterdir()), shared / "checkpoints" / name
    assert len(paths) == 4
    for number, path in enumerate(paths):
        image, folder = photograph(path, 2048), tmp_path / str(number)
        assert_same_picture(levels_of_import(checkpoint, image, folder), levels_by_hand(checkpoint, image))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "psnr", "ssim"),
    [
        (None, 11.55, 0.522),
        ("clip_lit/enhancement_model.pth", 18.08, 0.828),
        ("clip_lit/init_enhancement_model.pth", 11.63, 0.524),
        ("rave/rave_paired.pth", 18.27, 0.844),
        ("rave/rave_unpaired.pth", 14.80, 0.767),
        ("rave/clip_lit_unpaired.pth", 16.45, 0.809),
    ],
)
def test_released_weights_reproduce_their_figures(
    shared: Path, name: str | None, psnr: float, ssim: float
) -> None:
    """30 real scenes, under-exposed to middle frame, bicubic to 256x256, protocol rgb8."""
    scenes = shared / "photos" / "SICEV2" / "test"
    network = ResidualPPM().eval()
    if name is not None:
        network.load_state_dict(load_released(shared / "checkpoints" / name))
    metrics = PairMetrics()
    paths = sorted((scenes / "low").iterdir())
    assert len(paths) == 30
    for path in paths:
        image, reference = (photo_at_256(p) for p in (path, scenes / "mid" / path.name))
        with torch.no_grad():
            metrics.update(image if name is None else enhance(image, network(image)), reference)
    figures = metrics.compute()
    assert figures["psnr"].item() == pytest.approx(psnr, abs=0.02)
    assert figures["ssim"].item() == pytest.approx(ssim, abs=0.002)


def photo_at_256(path: Path) -> Tensor:
    with Image.open(path) as photo:
        return pixels(photo.convert("RGB").resize((256, 256), Image.Resampling.BICUBIC))


# --- files ---


def network_file(path: Path, prefix: str = "module.") -> dict[str, Tensor]:
    network = ResidualPPM()
    initialise(network, keyed_generator(path.name))
    torch.save({prefix + name: tensor for name, tensor in network.state_dict().items()}, path)
    return network.state_dict()


def prompt_file(path: Path, shape: tuple[int, ...] = (2, 77, 512)) -> Tensor:
    """A prompt pair as released, with the text tower beside it."""
    embeddings = torch.randn(shape, generator=keyed_generator(path.name))
    tower = {"module.text_encoder.positional_embedding": torch.zeros(77, 512)}
    torch.save({"module.embedding_prompt": embeddings, **tower}, path)
    return embeddings


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_network_is_read_with_and_without_the_prefix_of_dataparallel(tmp_path: Path, prefix: str) -> None:
    state = network_file(tmp_path / "net.pth", prefix)
    weights, metadata = released_weights([tmp_path / "net.pth"])
    assert set(weights) == {"enhancer"}
    assert set(weights["enhancer"]) == set(state)
    assert all(torch.equal(weights["enhancer"][name], tensor) for name, tensor in state.items())
    assert metadata["network"]["_target_"] == "relit.clip_lit.network.ResidualPPM"
    assert metadata["clip"] == {}


def test_prompts_are_read_without_the_text_tower_beside_them(tmp_path: Path) -> None:
    embeddings = prompt_file(tmp_path / "prompts.pth")
    weights, metadata = released_weights([tmp_path / "prompts.pth"])
    assert set(weights) == {"prompts"}
    assert set(weights["prompts"]) == {"embeddings"}
    assert torch.equal(weights["prompts"]["embeddings"], embeddings)
    assert metadata["clip"] == {"prompts": {"model": "ViT-B-32", "source": "openai"}}
    assert metadata["network"] is None


@pytest.mark.parametrize("shape", [(2, 77, 32), (3, 77, 512), (2, 18, 512), (77, 512)], ids=str)
def test_prompts_of_another_width_or_count_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    prompt_file(tmp_path / "prompts.pth", shape)
    with pytest.raises(ConfigurationError, match=r"prompts\.pth.*2, 77, 512") as refusal:
        released_weights([tmp_path / "prompts.pth"])
    assert str(shape) in str(refusal.value)


def test_another_network_is_told_apart_by_its_tensors(tmp_path: Path) -> None:
    torch.save(UNet().state_dict(), tmp_path / "unet.pth")
    with pytest.raises(ConfigurationError) as refusal:
        released_weights([tmp_path / "unet.pth"])
    for part in (
        "unet.pth",
        "30 missing (first: cond1.weight)",
        "unexpected (first: encoder.0.0",
        "ResidualPPM",
    ):
        assert part in str(refusal.value)


@pytest.mark.parametrize("write", [network_file, prompt_file])
def test_two_of_a_kind_are_refused(tmp_path: Path, write: type) -> None:
    paths = [tmp_path / "a.pth", tmp_path / "b.pth"]
    for path in paths:
        write(path)
    with pytest.raises(ConfigurationError, match=r"b\.pth.*a\.pth"):
        released_weights(paths)


class Payload:
    """What a malicious file could hold: unpickling it would write to ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    torch.save({"cond1.weight": Payload(tmp_path / "ran")}, tmp_path / "code.pth")
    with pytest.raises(ConfigurationError, match=r"code\.pth.*never loaded"):
        load_released(tmp_path / "code.pth")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "code.pth", weights_only=False)
    assert (tmp_path / "ran").exists()  # so the file was dangerous


def test_what_is_no_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("<html>404</html>")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "pointer.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    torch.save({"epoch": 3}, tmp_path / "number.pth")
    torch.save({3: torch.ones(1)}, tmp_path / "key.pth")
    network_file(tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:-2000])
    expected = {
        "absent": "no such file",
        "page": "truncated",
        "empty": "truncated",
        "cut": "truncated",
        "pointer": "git lfs pull",
        "number": "more than named tensors",
        "key": "more than named tensors",
    }
    for name, reason in expected.items():
        with pytest.raises(ConfigurationError, match=rf"{name}\.pth.*{reason}"):
            load_released(tmp_path / f"{name}.pth")

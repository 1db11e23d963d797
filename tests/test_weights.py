"""Weight files: exact round trips, equal bytes for equal content, one readable error otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from relit.errors import ConfigurationError
from relit.weights import Weights, load_network_weights, mismatch, read_weights, write_weights

METADATA = {
    "network": {"_target_": "relit.clip_lit.network.UNet", "initial_map": None},
    "rounds": [1, 2.5, "é"],
}


def some_weights() -> Weights:
    tensors = torch.arange(24, dtype=torch.float32)
    return {
        "enhancer": {"a/b.weight": tensors.view(2, 3, 4).transpose(0, 2), "bias": tensors[:2]},
        "prompts": {"embeddings": torch.tensor([torch.inf, -0.0]).bfloat16(), "count": torch.tensor(3)},
    }


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_weights(path, some_weights(), METADATA)
    tensors, metadata = read_weights(path)
    assert metadata == METADATA
    expected = some_weights()
    assert {group: set(members) for group, members in tensors.items()} == {
        group: set(members) for group, members in expected.items()
    }
    for group, members in expected.items():
        for name, tensor in members.items():
            assert tensors[group][name].dtype == tensor.dtype
            assert torch.equal(tensors[group][name], tensor)
            assert torch.equal(torch.signbit(tensors[group][name]), torch.signbit(tensor))


def test_parameters_and_tied_tensors_can_be_written(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    write_weights(tmp_path / "w", {"g": {"one": parameter, "two": parameter}}, {})
    tensors, metadata = read_weights(tmp_path / "w")
    assert torch.equal(tensors["g"]["one"], tensors["g"]["two"])
    assert not tensors["g"]["one"].requires_grad
    assert metadata == {}


def test_equal_content_gives_equal_bytes_in_another_process(tmp_path: Path) -> None:
    metadata = {"a": 1, "b": 2, "c": 3}
    write_weights(tmp_path / "here", {"g": {"x": torch.ones(2), "y": torch.zeros(3)}}, metadata)
    code = (
        "import sys, torch; from relit.weights import write_weights;"
        "tensors = {'g': {'y': torch.zeros(3), 'x': torch.ones(2)}};"
        "write_weights(sys.argv[1], tensors, {'c': 3, 'b': 2, 'a': 1})"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True)
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()


def test_what_was_read_outlives_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w"
    write_weights(path, {"g": {"x": torch.ones(1000)}})
    tensors, _ = read_weights(path)
    with path.open("r+b") as file:  # overwritten in place, as a careless copy would
        file.write(bytes(path.stat().st_size))
    assert tensors["g"]["x"].eq(1).all()


def test_a_group_name_with_a_slash_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a/b"):
        write_weights(tmp_path / "w", {"a/b": {"x": torch.ones(1)}})
    assert not (tmp_path / "w").exists()


def test_missing_file_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.safetensors"):
        read_weights(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_truncated_file_is_one_readable_error(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, some_weights(), METADATA)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ConfigurationError, match=r"w\.safetensors.*truncated"):
        read_weights(path)


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(2)}, tmp_path / "model.pth")
    with pytest.raises(ConfigurationError, match=r"model\.pth"):
        read_weights(tmp_path / "model.pth")


@pytest.mark.parametrize("name", ["x", "group/x"])
def test_safetensors_of_another_program_are_refused(tmp_path: Path, name: str) -> None:
    save_file({name: torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ConfigurationError, match="no weight file of Relit"):
        read_weights(tmp_path / "other.safetensors")


def small_network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.PReLU(), nn.Conv2d(4, 1, 3, bias=False))


def test_weights_of_the_same_network_are_taken_over() -> None:
    network, other = small_network(), small_network(1)
    assert mismatch(network, other.state_dict()) == ""
    load_network_weights(network, other.state_dict(), "stage 2")
    image = torch.ones(1, 3, 8, 8)
    assert torch.equal(network(image), other(image))


def test_weights_of_another_network_are_summarised_in_one_line_and_change_nothing() -> None:
    network = small_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = {"0.weight": torch.ones(4, 1, 3, 3), "2.weight": torch.ones(1, 4, 3, 3), "extra": torch.ones(1)}
    with pytest.raises(ConfigurationError) as refusal:
        load_network_weights(network, state, "w.safetensors")
    message = str(refusal.value)
    for part in (
        "w.safetensors",
        "Sequential",
        "2 missing (first: 0.bias)",
        "1 unexpected (first: extra)",
        "1 misshapen (first: 0.weight is (4, 1, 3, 3), not (4, 3, 3, 3))",
    ):
        assert part in message
    assert "\n" not in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())

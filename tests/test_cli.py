"""The command ``relit``: exit status and one readable line, whatever it is given."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from relit.cli import main
from relit.clip_lit.network import ResidualPPM, UNet, initialise
from relit.instantiation import build
from relit.keyed import keyed_generator
from relit.weights import load_network_weights, read_weights


@pytest.fixture
def network_file(tmp_path: Path) -> Path:
    network = ResidualPPM()
    initialise(network, keyed_generator(0))
    torch.save(
        {f"module.{name}": value for name, value in network.state_dict().items()}, tmp_path / "net.pth"
    )
    return tmp_path / "net.pth"


@pytest.fixture
def prompt_file(tmp_path: Path) -> Path:
    torch.save({"embedding_prompt": prompts()}, tmp_path / "prompts.pth")
    return tmp_path / "prompts.pth"


def prompts() -> Tensor:
    return torch.randn(2, 77, 512, generator=keyed_generator("prompts"))


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What is said, in one line, when the command is refused with status 2."""
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(
    "command", [[], ["enhance"], ["evaluate"], ["export"], ["import"], ["report"]], ids=str
)
def test_help_answers_without_torch(command: list[str]) -> None:
    code = (
        "import sys\nfrom relit.cli import main\n"
        f"try:\n    main({[*command, '--help']})\nexcept SystemExit as exit_:\n    assert exit_.code == 0\n"
        "assert 'torch' not in sys.modules"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"usage: {' '.join(['relit', *command])}" in found.stdout
    if not command:
        assert all(name in found.stdout for name in ("enhance", "evaluate", "import", "report", "data"))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["inport"],
        ["import", "a.pth"],
        ["import", "-o", "b"],
        ["enhance", "a.png", "-o", "out"],
        ["enhance", "-o", "out", "--weights", "w.safetensors"],
        ["enhance", "a.png", "-o", "out", "--weights", "w.safetensors", "--device", "tpu"],
        ["evaluate", "--gt", "out"],
        ["export", "-o", "model.pt2"],
    ],
    ids=str,
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: relit" in capsys.readouterr().err


def test_import_merges_a_network_and_prompts_into_what_a_run_starts_from(
    network_file: Path, prompt_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "folder" / "weights.safetensors"
    assert main(["import", str(network_file), str(prompt_file), "-o", str(output)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.count("\n") == 3
    for part in (
        str(output),
        "enhancer (278,790 parameters)",
        "prompts (78,848 parameters)",
        f"relit enhance PHOTOS -o DIR --weights {output}",
        f"start={output}",
    ):
        assert part in said.out

    weights, metadata = read_weights(output)
    network = build(metadata["network"])
    load_network_weights(network, weights["enhancer"], output)
    assert network.cond1.zeros_in_training  # as the release trains
    assert torch.equal(weights["prompts"]["embeddings"], prompts())
    assert metadata["method"] == "clip_lit"
    assert metadata["imported_from"] == [
        {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in (network_file, prompt_file)
    ]


def test_import_replaces_only_when_forced(
    network_file: Path, prompt_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "w.safetensors"
    assert main(["import", str(network_file), "-o", str(output)]) == 0
    capsys.readouterr()
    before = output.read_bytes()
    assert "--force" in refusal(capsys, "import", prompt_file, "-o", output)
    assert output.read_bytes() == before
    assert main(["import", str(prompt_file), "-o", str(output), "--force"]) == 0
    assert set(read_weights(output)[0]) == {"prompts"}


def test_import_refuses_in_one_line_and_writes_nothing(
    network_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(UNet().state_dict(), tmp_path / "unet.pth")
    torch.save(UNet(), tmp_path / "code.pth")
    torch.save({"embedding_prompt": torch.ones(2, 77, 640)}, tmp_path / "wide.pth")
    (tmp_path / "cut.pth").write_bytes(network_file.read_bytes()[:5000])
    output = tmp_path / "out" / "w.safetensors"
    expected = {
        "absent": "no such",
        "unet": "30 missing",
        "code": "objects",
        "wide": "640",
        "cut": "truncated",
    }
    for name, reason in expected.items():
        said = refusal(capsys, "import", network_file, tmp_path / f"{name}.pth", "-o", output)
        assert said.startswith(f"relit import: {tmp_path / name}.pth: ")
        assert reason in said
    assert "two files" in refusal(capsys, "import", network_file, network_file, "-o", output)
    assert "folder" in refusal(capsys, "import", network_file, "-o", tmp_path)
    assert "ends in .safetensors" in refusal(capsys, "import", network_file, "-o", output.with_suffix(".pth"))
    assert not output.parent.exists()


def test_a_folder_that_cannot_be_made_is_named(
    network_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["import", str(network_file), "-o", str(tmp_path / "file" / "w.safetensors")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"relit import: {tmp_path / 'file' / 'w.safetensors'}: ")
    assert "Traceback" not in said

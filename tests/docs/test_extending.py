"""docs/EXTENDING.md: its diffs apply to the project as it is, and what they add trains by its commands."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import replicas
from markdown_page import ROOT, MarkdownPage

PAGE = MarkdownPage("docs/EXTENDING.md")
ADDITIONS = ["A network", "A loss", "A data set", "A stage"]
CLIP_LIT_STAGES = [
    "prompt_initialisation",
    "self_reconstruction",
    "enhancement",
    "prompt_refinement",
    "tuning",
]
FEW_STEPS = [
    *(f"stage.{name}.steps=2" for name in CLIP_LIT_STAGES),
    *(f"stage.{name}.data.batch_size=2" for name in CLIP_LIT_STAGES),
    *["rounds=1", "data.size=32", "data.test_size=64", "data.crops=2", "data.procedural=2"],
    *["stage.prompt_initialisation.module.views=1", "progress=false", "trainer.log_every_n_steps=1"],
]
FEW_STEPS_OF_PAIRS = [
    *(f"stage.{name}.steps=1" for name in ("reference_priors", "prior_warm_up", "restored_priors")),
    *(f"stage.{name}.data.crop=32" for name in ("reference_priors", "restored_priors")),
    *["data.crop=32", "data.test_size=32", "progress=false"],
]
BUDGETS = {
    "A network": FEW_STEPS,
    "A loss": FEW_STEPS,
    "A data set": FEW_STEPS_OF_PAIRS,
    "A stage": [*FEW_STEPS, "stage.gamma_start.steps=2"],
}

DRIVER = """
import json, runpy, sys

from relit.cli import main

for command in json.loads(sys.argv.pop()):
    if command[0] == "relit":
        status = main(command[1:])
    else:
        sys.argv = command[1:]
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as exit_:
            status = exit_.code
    print("status", status, *command, flush=True)

import torch
from relit import load
from relit.clip_lit.dilated_network import DilatedNetwork
from relit.clip_lit.tiled import enhance_any_size

network = DilatedNetwork()
photo = torch.rand(1, 3, 70, 90, generator=torch.Generator().manual_seed(0))
print(f"parameters {sum(parameter.numel() for parameter in network.parameters()):,}")
with torch.no_grad():
    for parameter in network.parameters():
        parameter.add_(0.05)  # so that a map shows what is around it
print("tiles", torch.allclose(enhance_any_size(network, photo, side=32), enhance_any_size(network, photo)))
print("loaded", type(load("runs/dilated/weights.safetensors").method.correct.network).__name__)
"""


def diff_of(addition: str) -> str:
    (text,) = [block.text for block in PAGE.blocks if block.heading == addition and block.language == "diff"]
    return text


def commands_of(addition: str) -> list[list[str]]:
    return [
        shlex.split(line)
        for block in PAGE.blocks
        if block.heading == addition and block.language == "sh"
        for line in block.text.splitlines()
    ]


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with all of the page's diffs."""
    copy = tmp_path_factory.mktemp("extended")
    leave = shutil.ignore_patterns("assets", "__pycache__")
    for name in ("src/relit", "conf"):
        shutil.copytree(ROOT / name, copy / name, ignore=leave)
    shutil.copy(ROOT / "train.py", copy)
    (copy / "src/relit/assets").symlink_to(ROOT / "src/relit/assets")
    for addition in ADDITIONS:
        applied = subprocess.run(
            ["git", "apply", "-"],
            cwd=copy,
            input=diff_of(addition),
            text=True,
            capture_output=True,
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(copy.parent)},
        )
        assert applied.returncode == 0, f"the diff of {addition!r} does not apply:\n{applied.stderr}"
    return copy


def test_every_addition_is_a_diff_with_commands() -> None:
    assert PAGE.headings[1:] == ADDITIONS
    for addition in ADDITIONS:
        assert diff_of(addition).startswith("--- ")
        assert commands_of(addition)


def test_the_diffs_apply_and_are_python(extended: Path) -> None:
    touched = [
        extended / line.removeprefix("+++ b/")
        for addition in ADDITIONS
        for line in diff_of(addition).splitlines()
        if line.startswith("+++ b/")
    ]
    assert len(touched) == len(set(touched)) == 11
    for path in touched:
        if path.suffix == ".py":
            compile(path.read_text(), path, "exec")


@pytest.mark.slow
def test_what_the_page_adds_trains_by_the_pages_commands(extended: Path) -> None:
    data = extended / "DIR"
    for split in ("our485", "eval15"):
        for number in range(4):
            for kind in ("low", "high"):
                name = f"{split[0]}{number}.png"  # no scene in both splits
                replicas.put(data / "LOLdataset" / split / kind / name, 48, 64)
    commands = [
        [*command, *BUDGETS[addition]] if command[0] == "python" else command
        for addition in ADDITIONS
        for command in commands_of(addition)
    ]
    result = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(commands)],
        cwd=extended,
        env={**os.environ, "PYTHONPATH": f"{extended / 'src'}{os.pathsep}{extended}", "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said = result.stdout
    assert result.returncode == 0, said
    # a replica lacks what is published, which is what verify is to find
    for command in commands:
        assert f"status {1 if 'verify' in command else 0} {' '.join(command)}" in said, said
    assert "test: 4 photographs instead of 15" in said, said
    assert "parameters 16,513" in said, said
    assert "tiles True" in said
    assert "loaded DilatedNetwork" in said
    logged = (extended / "runs/exposure/logs/version_0/metrics.csv").read_text()
    assert "enhancement/exposure" in logged.splitlines()[0]
    assert (extended / "runs/gamma_start/stages/2-gamma_start/weights.safetensors").is_file()

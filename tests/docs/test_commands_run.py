"""README's and docs/DATA.md's commands are given as they stand, on small stand-ins, in the order of the page.

Photographs and data sets are those of :mod:`reader_folder`; the embedded CLIP stands in for weights that are
fetched, and trainings are cut to a few steps by overrides behind the page's own. What no test can give is
listed with its reason; any other command of a page is run, so one that needs more than that fails.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_page import MarkdownPage
from reader_folder import reader_folder
from shown_commands import recipe, shown_commands
from warm_start import start

from relit.cli import main
from relit.weights import read_weights

PAGES = ["README.md", "docs/DATA.md"]

NOT_RUN = {
    "make test": "it would run this test, too",
    "source .venv/bin/activate": "tests have no environment of their own to enter",
    "relit data prepare div2k --root data": "fetches 3.5 GB; tests/data/test_prepare.py has a small archive",
}
"""Commands that are not given here, and why."""

LCDP, MSEC = "data/lcdp_dataset", "data/MSEC/testing"
STAND_INS = [
    (r"(--root |data\.root=|msec=)DIR2?\b", r"\1data"),
    (r"(data\.(?:backlit|layout\.train_input))=DIR", r"\1=own/dark"),
    (r"(data\.(?:well_lit|photos|layout\.train_reference))=DIR", r"\1=own/light"),
    (r"(data\.(?:layout\.)?test_input)=DIR", r"\1=own/test_dark"),
    (r"(data\.(?:layout\.)?test_reference)=DIR", r"\1=own/test_light"),
    (r"prepare NAME", "prepare msec"),
    (r"--pred (\w+=)?DIR(?=.* --protocol msec)", rf"--pred \1{MSEC}/INPUT_IMAGES"),
    (r"--pred DIR --gt DIR(?= --protocol lcdp)", f"--pred {LCDP}/test-input --gt {LCDP}/test-gt"),
    (r"PHOTOS\S*", "own/test_dark"),
    (r"-o DIR", "-o results"),
    (r"--weights FILE", "--weights runs/quickstart/weights.safetensors"),
    (r"RUN RUN", "runs/quickstart runs/mine"),
    (r"RUN\S*", "runs/quickstart"),
    (r"seed=0,1,2", "seed=0,1"),
]
"""What stands in place of the words that a reader replaces."""

PLACEHOLDER = re.compile(r"(?<![\w/.])[A-Z][A-Z_]+\d?(?![\w/.])|\.\.\.")
"""A word that stands for something else: capitals alone, and no part of a path."""

FAULTS = {"relit data verify": 1, "relit data prepare sice": 1}
"""Status of commands that are to find that replicas are not whole."""

LIT_STAGES = ["prompt_initialisation", "self_reconstruction", "enhancement", "prompt_refinement", "tuning"]
RESTOREX_STAGES = ["reference_priors", "prior_warm_up", "restored_priors"]
FEW_STEPS = {
    "clip_lit": [
        "clip=tiny",
        *(f"stage.{name}.steps=2" for name in LIT_STAGES),
        *(f"stage.{name}.data.batch_size=2" for name in LIT_STAGES),
        *(f"stage.{name}.extend=null" for name in LIT_STAGES),
        *("stage.prompt_initialisation.module.views=1", "rounds=1", "data.size=32", "data.test_size=64"),
        *("stage.self_reconstruction.restart=null", "network.initial_map=1.0"),
    ],
    "clip_restorex": [
        *("clip=tiny_prior", "budget=laptop_restorex_short"),
        *(f"stage.{name}.steps=1" for name in RESTOREX_STAGES),
        *(f"stage.{name}.data.{key}" for name in RESTOREX_STAGES[::2] for key in ("crop=32", "batch_size=2")),
        *("data.crop=32", "data.test_size=32"),
    ],
}
"""Overrides that cut a training of either method to seconds."""

TRAINER = ["trainer=cpu", "trainer.log_every_n_steps=1", "threads=1", "progress=false"]


def shown(page: str) -> list[str]:
    """The commands of the page that are run, those of the Makefile as what they run."""
    commands = [command for command in shown_commands(page) if command not in NOT_RUN]
    return [recipe(command.split()[1]) if command.startswith("make ") else command for command in commands]


def as_given(command: str) -> list[str]:
    """The words of a command with stand-ins for placeholders and, of a training, with few steps."""
    for pattern, stand_in in STAND_INS:
        command = re.sub(pattern, stand_in, command)
    words = shlex.split(command)
    if words[0] == "relit":
        return words
    assert words[:2] == ["python", "train.py"], f"{command}: cannot be run here; say why in NOT_RUN"
    return [*words, *few_steps(words[2:])]


def few_steps(given: list[str]) -> list[str]:
    """Overrides that cut a training; what the command says itself stays."""
    values = dict(override.split("=", 1) for override in given)
    method = "clip_restorex" if "restorex" in values["experiment"] else "clip_lit"
    added = [*FEW_STEPS[method], *TRAINER]
    if values["experiment"] == "quickstart":
        added += ["data.crops=2", "data.procedural=2"]
    if "train" not in values:
        added.append("fresh=true")
    return [override for override in added if override.split("=")[0] not in values]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_can_be_given(page: str) -> None:
    """Nothing in it stands for something else any more; what is not run is shown."""
    for command in shown(page):
        left = [word for word in as_given(command) if PLACEHOLDER.search(word)]
        assert left == [], f"{command}: add what {left} stand for to STAND_INS"
    assert set(NOT_RUN) <= {command for name in PAGES for command in shown_commands(name)}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_in_its_order(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(reader_folder(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("RELIT_CACHE", str(tmp_path / "cache"))
    for command in shown(page):
        words = as_given(command)
        if words[0] == "relit":
            use(words)
        else:
            train(words[2:])
    for block in MarkdownPage(page).blocks:
        if block.language == "python":
            exec(compile(block.text.replace('"DIR"', '"data"'), page, "exec"), {})


def use(words: list[str]) -> None:
    """A command of ``relit``, whose files are there afterwards."""
    command = shlex.join(words)
    outputs = [Path(value) for option, value in pairwise(words) if option in ("-o", "--json", "--csv")]
    for path in outputs:
        shutil.rmtree(path, ignore_errors=True)
    expected = next((status for start, status in FAULTS.items() if command.startswith(start)), 0)
    assert main(words[1:]) == expected, command
    for path in outputs:
        assert path.is_dir() or path.stat().st_size > 0, command
    if words[1] == "enhance":
        inputs = list(Path(words[2]).iterdir())
        assert len(list(filter(Path.is_file, outputs[0].iterdir()))) >= len(inputs), command


def train(overrides: list[str]) -> None:
    """A training, which leaves weights and figures, or as a table a row of figures for each of its runs."""
    finished = start(overrides, Path.cwd(), {"OMP_NUM_THREADS": "1"}).wait()
    assert finished.status == 0, f"train.py {shlex.join(overrides)}\n{finished.said}"
    values = dict(override.split("=", 1) for override in overrides)
    run = Path("runs") / values.get("name", values["experiment"].rpartition("/")[2])
    if "/" in values["experiment"]:
        rows = json.loads((run / "table.json").read_text())["rows"]
        figures = [row["figures"]["psnr"]["mean"] for row in rows]
    else:
        assert read_weights(run / "weights.safetensors")[0]
        figures = list(json.loads((run / "metrics.json").read_text())["result"].values())
    assert figures
    assert all(map(math.isfinite, figures)), finished.said

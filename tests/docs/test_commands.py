"""Commands that pages show: the parser of ``relit`` takes them, and the overrides of train.py compose."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator

import pytest
from click import Context
from compositions import ROOT, composed, configurations, jobs, task
from markdown_page import MarkdownPage
from omegaconf import DictConfig, OmegaConf
from shown_commands import recipe, shown_commands
from torch.distributed.run import get_args_parser
from wandb.cli.cli import cli as wandb_cli

from relit.checks import check_configuration
from relit.cli import _parser

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "data/README.md",
    "docs/DATA.md",
    "docs/RESULTS.md",
    "docs/SCALING.md",
]
"""docs/EXTENDING.md's commands are run, by its own test."""

README = MarkdownPage("README.md")


SHOWN = list(dict.fromkeys(command for name in PAGES for command in shown_commands(name)))


@pytest.fixture(scope="module", autouse=True)
def _configurations() -> Iterator[None]:
    with configurations():
        yield


@pytest.mark.parametrize("name", PAGES)
def test_commands_stand_in_blocks_that_are_tested(name: str) -> None:
    for block in MarkdownPage(name).blocks:
        if block.language != "sh":
            shown = re.findall(r"^(?:relit|python|make|pip|torchrun|srun|wandb) .*", block.text, re.MULTILINE)
            assert shown == [], f"{name}: mark the block of {shown[0]!r} as sh"


@pytest.mark.parametrize("command", SHOWN)
def test_a_shown_command_is_one(command: str) -> None:
    words = [word for word in shlex.split(command) if not re.fullmatch(r"[A-Z_]+=\S+", word)]
    if words[0] == "relit":
        _parser().parse_args(words[1:])
    elif words[:2] == ["python", "train.py"]:
        check_train(words[2:])
    elif words[0] == "make":
        recipe(words[1])
    else:
        check_other(words)


def check_train(overrides: list[str]) -> DictConfig:
    """Every run, of several seeds the first, is accepted by what checks before a training; the last one."""
    given = of_one_seed(overrides)
    table = next((one for one in given if one.startswith("experiment=ablation/")), None)
    if table is not None:
        given.remove(table)
        runs = jobs(table.removeprefix("experiment=ablation/"), *given)
    else:
        runs = [given]
    for run in runs:
        cfg = task(composed(*run))
        check_configuration(cfg)
    return cfg


def of_one_seed(overrides: list[str]) -> list[str]:
    """The first run of several seeds."""
    return [one.partition(",")[0] if one.startswith("seed=") else one for one in overrides if one != "-m"]


def check_other(words: list[str]) -> None:
    """Launchers take their options and what they start composes; the rest exists."""
    if words[0] == "torchrun":
        given = get_args_parser().parse_args(words[1:])
        assert given.training_script == "train.py"
        trainer = check_train(given.training_script_args).trainer
        assert (given.nnodes, given.nproc_per_node) == (str(trainer.num_nodes), str(trainer.devices))
    elif words[:3] == ["srun", "python", "train.py"]:
        check_train(words[3:])
    elif words[0] == "wandb":
        command = wandb_cli.commands[words[1]]
        command.make_parser(Context(command)).parse_args(words[2:])
        # tests/sweep/test_wandb_sweeps.py composes what agents make of these
        assert all((ROOT / word).is_file() for word in words if word.endswith(".yaml"))
    elif words[0] != "source":
        assert words[:3] == [".venv/bin/python", "-m", "pytest"], f"{words[0]} is tested nowhere"
        assert (ROOT / words[-1]).is_file()


def test_commands_in_prose_exist() -> None:
    """In code spans they are fragments: the command and its options must exist."""
    parsers = next(action.choices for action in _parser()._actions if action.dest == "command")
    for name in [*PAGES, "docs/EXTENDING.md", "docs/DECISIONS.md"]:
        for span in re.findall(r"`(relit [^`]+)`", MarkdownPage(name).prose):
            words = span.split()
            parser = parsers[words[1]]
            own = next((action.choices for action in parser._actions if action.dest == "data_command"), None)
            if own:
                parser = own[words[2]]
            known = {option for action in parser._actions for option in action.option_strings}
            assert {word for word in words if word.startswith("-")} <= known, f"{name}: {span}"


@pytest.mark.parametrize("name", [*PAGES, "src/relit/assets/tiny_clip.md"])
def test_trainings_in_prose_compose(name: str) -> None:
    """RESULTS names its overrides of photographs PHOTOS, in a block of its own."""
    page = MarkdownPage(name)
    photos = " ".join(block.text.replace("\\", "") for block in page.blocks if not block.language)
    for span in re.findall(r"`(?:python|torchrun \.\.\.) train\.py ([^`]+)`", page.prose):
        if "..." not in span:
            given = shlex.split(span.replace("PHOTOS", photos).replace("tableN", "table5"))
            assert composed(*of_one_seed(given)).plan


@pytest.mark.parametrize("name", PAGES)
def test_python_that_pages_show_imports_what_exists(name: str) -> None:
    for block in MarkdownPage(name).blocks:
        if block.language == "python":
            compile(block.text, name, "exec")
            exec("\n".join(re.findall(r"^(?:from|import) .*", block.text, re.MULTILINE)), {})


def test_extras_that_pages_install_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in PAGES:
        named = re.findall(r"pip install -e \"\.\[(\w+)\]\"", MarkdownPage(name).text)
        assert set(named) <= set(extras)


def test_the_table_of_experiments_is_complete() -> None:
    named = {span for row in README.table("`experiment=`") for span in re.findall(r"`([^`]+)`", row[0])}
    folder = ROOT / "conf/experiment"
    assert named == {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}


def test_overrides_that_the_readme_names_exist() -> None:
    """Files of groups, and keys of either method's configuration."""
    bases = [composed("experiment=clip_lit"), composed("experiment=clip_restorex_lcdp")]
    for cell, *_ in README.table("override"):
        key = ""
        for span in re.findall(r"`([^`]+)`", cell):
            for word in shlex.split(span):
                if word == "-m":
                    continue
                given, sign, value = word.partition("=")
                key = given.lstrip("+~") if sign or word.startswith("~") else key
                if not sign and not word.startswith("~"):  # another value of the key before
                    value = word
                group = ROOT / "conf" / key
                if group.is_dir():
                    assert (group / f"{value}.yaml").is_file(), f"{key}={value}"
                elif not word.startswith("+"):
                    assert any(has(base, key) for base in bases), f"{word}: no such key"


def has(config: object, key: str) -> bool:
    """Whether ``key`` is one of ``config``; its value may be null or an interpolation."""
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config  # type: ignore[arg-type]
    return node is not None and last in node

"""Commands that pages show: the parser of ``relit`` takes them, and the overrides of train.py compose."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator

import pytest
from compositions import ROOT, composed, configurations, jobs, task
from markdown_page import MarkdownPage
from omegaconf import OmegaConf

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


def commands(name: str) -> list[str]:
    """Each command of the page's blocks ``sh``, on one line, without its comment."""
    text = "".join(block.text for block in MarkdownPage(name).blocks if block.language == "sh")
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [shlex.join(words) for line in lines if (words := shlex.split(line, comments=True))]


SHOWN = list(dict.fromkeys(command for name in PAGES for command in commands(name)))


@pytest.fixture(scope="module", autouse=True)
def _configurations() -> Iterator[None]:
    with configurations():
        yield


@pytest.mark.parametrize("name", PAGES)
def test_commands_stand_in_blocks_that_are_tested(name: str) -> None:
    for block in MarkdownPage(name).blocks:
        if block.language != "sh":
            shown = re.findall(r"^(?:relit|python|make|pip) .*", block.text, re.MULTILINE)
            assert shown == [], f"{name}: mark the block of {shown[0]!r} as sh"


@pytest.mark.parametrize("command", SHOWN)
def test_a_shown_command_is_one(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "relit":
        _parser().parse_args(words[1:])
    elif words[:2] == ["python", "train.py"]:
        check_train(words[2:])
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        check_other(words)


def check_train(overrides: list[str]) -> None:
    """Every run of the command is accepted by what checks a configuration before it trains."""
    table = next((one for one in overrides if one.startswith("experiment=ablation/")), None)
    if table is not None:
        overrides.remove(table)
        runs = jobs(table.removeprefix("experiment=ablation/"), *overrides)[:1]
    else:
        several = [one.partition(",")[0] if one.startswith("seed=") else one for one in overrides]
        runs = [[one for one in several if one != "-m"]]
    for run in runs:
        check_configuration(task(composed(*run)))


def check_other(words: list[str]) -> None:
    if words[:2] == ["source", ".venv/bin/activate"]:
        return
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

"""``relit figure``: every name is a function, and what it can't draw is told in one line."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest
from lit_run import lit_run
from restorex_run import restorex_run

from relit.cli import main
from relit.figure.registry import FIGURES


@pytest.fixture(scope="module")
def lit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lit_run(tmp_path_factory.mktemp("lit") / "run")


@pytest.fixture(scope="module")
def restorex(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return restorex_run(tmp_path_factory.mktemp("restorex") / "run")


@pytest.mark.parametrize("name", FIGURES)
def test_every_name_is_a_function_that_takes_what_is_said(name: str) -> None:
    function = getattr(import_module(f"relit.figure.{name}"), name)
    first, *options = inspect.signature(function).parameters
    known = FIGURES[name]
    assert (first, tuple(options)) == ("runs" if known.several else "run", known.options)


def test_help_lists_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["figure", "--help"])
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said for name in FIGURES)


def said_of(capsys: pytest.CaptureFixture[str], output: Path, *arguments: str) -> str:
    """What the command complains about; it writes nothing."""
    assert main(["figure", *arguments, "-o", str(output)]) == 2
    assert not output.exists()
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "method", "instead"), [("tsne", "lit", "references"), ("relevance", "restorex", "distance")]
)
def test_a_run_of_the_other_method_is_told_what_can_be_drawn(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    method: str,
    instead: str,
) -> None:
    run: Path = request.getfixturevalue(method)
    said = said_of(capsys, tmp_path / "a.png", name, str(run))
    assert f"{run}: is a run of {'CLIP-LIT' if method == 'lit' else 'CLIP-RestoreX'}" in said
    listed = said.partition("can be drawn: ")[2]
    assert instead in listed
    assert "losses" in listed
    assert name not in listed


def test_what_makes_no_sense_is_refused(
    lit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, output = str(lit), tmp_path / "a.png"
    assert "drawn of one run, and 2 are given" in said_of(capsys, output, "rounds", run, run)
    assert "losses takes no --photo" in said_of(capsys, output, "losses", run, "--photo", "china-0")
    assert "rounds takes no --imagenet; distance does" in said_of(
        capsys, output, "rounds", run, "--imagenet", "none"
    )
    missing = said_of(capsys, output, "rounds", run, "--photo", "chyna-0")
    assert "no such photograph. Did you mean china-0" in missing
    assert "no run directory" in said_of(capsys, output, "rounds", str(tmp_path))


def test_an_unfinished_run_is_told_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = lit_run(tmp_path / "run")
    (run / "state.json").unlink()
    assert "is not finished (0 of 6 stages)" in said_of(capsys, tmp_path / "a.png", "rounds", str(run))

"""The notebooks: as short as they should be in git, and running from top to bottom."""

from __future__ import annotations

import json
import re
import shlex

import nbformat
import pytest
from compositions import composed, configurations, task
from markdown_page import ROOT

from notebooks.refresh import FOLDER, KEEP, executed, stripped, workplace
from relit.checks import check_configuration

NAMES = ["01_clip_lit.ipynb", "02_clip_restorex.ipynb", "03_your_photos.ipynb"]
LARGEST = 250_000
"""Bytes of a file, with its figure."""

A_MACHINES_PATH = re.compile(r"/(?:home|root|tmp|usr|opt|work|Users|mnt|var)/|[A-Z]:\\\\")


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / name, as_version=4)


def code_of(name: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(name).cells if cell.cell_type == "code"]


def test_these_are_all() -> None:
    assert sorted(path.name for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_valid_and_holds_its_chosen_figure_alone(name: str) -> None:
    nbformat.validate(read(name))
    figures = 0
    for cell in code_of(name):
        assert cell.execution_count is None
        for output in cell.outputs:
            assert cell.metadata.tags == [KEEP], f"an output is left in:\n{cell.source}"
            assert output.data.keys() == {"image/jpeg"}
            figures += 1
    assert figures == 1
    text = (FOLDER / name).read_text()
    assert len(text) < LARGEST
    figureless = re.sub(r'"image/jpeg": "[^"]*"', "", text)
    assert A_MACHINES_PATH.search(figureless) is None


@pytest.mark.parametrize("name", NAMES)
def test_links_of_a_notebook_lead_somewhere(name: str) -> None:
    for cell in read(name).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#]+)\)", cell.source):
                assert target.startswith("https://") or (FOLDER / target).exists(), target


@pytest.mark.parametrize("name", NAMES)
def test_the_run_of_a_notebook_is_accepted(name: str) -> None:
    sources = [cell.source for cell in code_of(name)]
    variables: dict[str, str] = {}
    for source in sources:
        for variable, value in re.findall(
            r"^(\w+) = \((?:  #.*)?\n(.*?)^\)", source, re.MULTILINE | re.DOTALL
        ):
            variables[variable] = "".join(re.findall(r'"([^"]*)"', value))
    (command,) = [source for source in sources if source.startswith("%run")]
    command = command.replace("\\\n", " ")
    command = re.sub(r"\{(\w+)\}", lambda found: variables.get(found[1], "DIR"), command)
    words = shlex.split(command)
    assert words[:2] == ["%run", "../train.py"]
    with configurations():
        check_configuration(task(composed(*words[2:])))


def test_stripping_keeps_the_figures_of_tagged_cells_alone() -> None:
    dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
    figure = nbformat.v4.new_output("display_data", data={"image/png": dot})
    said = nbformat.v4.new_output("stream", text="/home/me")
    cells = [
        nbformat.v4.new_code_cell(
            "a", outputs=[figure, said], metadata={"tags": tags, "execution": {"t": "1"}}
        )
        for tags in ([KEEP], [])
    ]
    cells[0].execution_count = 3
    kept, bare = stripped(nbformat.v4.new_notebook(cells=cells)).cells
    assert [output.data.keys() for output in kept.outputs] == [{"image/jpeg"}]
    assert bare.outputs == []
    assert kept.execution_count is None
    assert (kept.metadata, bare.metadata) == ({"tags": [KEEP]}, {})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("01_clip_lit.ipynb", "notebook_clip_lit"),
        ("02_clip_restorex.ipynb", "notebook_restorex"),
        ("03_your_photos.ipynb", "notebook_mine"),
    ],
)
def test_a_notebook_runs_from_top_to_bottom(name: str, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline; what it writes goes elsewhere."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with workplace() as folder:
        cells = executed(FOLDER / name, folder).cells
        metrics = json.loads((folder / "runs" / run / "metrics.json").read_text())
    drawn = [cell for cell in cells if KEEP in cell.metadata.get("tags", [])]
    assert all(any("image/png" in output.get("data", {}) for output in cell.outputs) for cell in drawn)
    if "psnr" in metrics["result"]:
        assert metrics["result"]["psnr"] > metrics["input"]["psnr"] + 1
    else:  # no references: what is left is CLIP's judgement
        assert metrics["result"]["S"] < metrics["input"]["S"]

"""Run the notebooks from top to bottom, and keep of their outputs the chosen figures alone.

``python notebooks/refresh.py`` runs all of them, ``python notebooks/refresh.py FILE...`` some. A cell whose
figure stays has the tag ``keep``.
"""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).resolve().parent
KEEP = "keep"
"""Tag of cells whose figures stay in the file."""

SECONDS = 1200
"""That a cell may take, on a machine that does other things, too."""


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder beside train.py and conf, as the notebooks' own; without earlier runs, and soon deleted."""
    with TemporaryDirectory() as parent:
        for name in ("train.py", "conf"):
            (Path(parent) / name).symlink_to(FOLDER.parent / name)
        folder = Path(parent) / FOLDER.name
        folder.mkdir()
        yield folder


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a fresh kernel whose working directory is ``folder``.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    return client.execute()


def stripped(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The same without counts, times and outputs, but for the figures of cells tagged ``keep``, as JPEG."""
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [_figure(output) for output in cell.outputs if KEEP in tags and _png(output)]
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    return notebook


def _png(output: Any) -> str | None:
    return output.get("data", {}).get("image/png")


def _figure(output: Any) -> nbformat.NotebookNode:
    picture = Image.open(io.BytesIO(base64.b64decode(_png(output) or ""))).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88, optimize=True)
    data = {"image/jpeg": base64.b64encode(buffer.getvalue()).decode()}
    return nbformat.v4.new_output("display_data", data=data)


def main(names: list[str]) -> None:
    """Refresh the notebooks ``names``, or all."""
    for path in [Path(name) for name in names] or sorted(FOLDER.glob("*.ipynb")):
        with workplace() as folder:
            nbformat.write(stripped(executed(path, folder)), path)
        print(f"{path}: {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main(sys.argv[1:])

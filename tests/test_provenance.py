"""Where a run's figures come from: the commit, and the photographs of each stage."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from relit import provenance
from relit.data.fingerprint import fingerprint
from relit.data.sets import MemoryPhotoSet
from relit.data.unpaired import UnpairedPhotos
from relit.provenance import NoteData, begin_sitting, code_version, read_provenance

ROOT = Path(__file__).resolve().parents[1]


class Greys(UnpairedPhotos):
    """As many backlit photographs as ``count`` says, and one well-lit one."""

    def __init__(self, count: int) -> None:
        super().__init__(size=8, images=True, test_size=None, batch_size=1, seed=0)
        self.count = count

    def load(self) -> Any:
        images = [torch.zeros(3, 8, 8, dtype=torch.uint8)] * self.count
        names = [str(number) for number in range(self.count)]
        return MemoryPhotoSet(images, names), MemoryPhotoSet(images[:1], names[:1]), None


def note(run_dir: Path, count: int) -> dict[str, str]:
    data = Greys(count)
    data.setup()
    trainer: Any = SimpleNamespace(datamodule=data, strategy=SingleDeviceStrategy(torch.device("cpu")))
    NoteData(run_dir, "1-first", None).on_fit_start(trainer, None)  # type: ignore[arg-type]
    return fingerprint(data)


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
    ).stdout


def test_the_commit_is_the_checkouts() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout to ask git about: clone the repository")
    found = code_version()
    assert found["commit"] == git("rev-parse", "HEAD").strip()
    assert found["changed"] == bool(git("status", "--porcelain", "--untracked-files=no").strip())


def test_an_installed_package_has_no_commit_even_inside_anothers_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    installed = tmp_path / ".venv" / "provenance.py"
    installed.parent.mkdir()
    installed.touch()
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert (code_version()["commit"], code_version()["changed"]) == (None, None)


def test_without_git_the_version_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    version = code_version()["version"]
    monkeypatch.setenv("PATH", "")
    assert code_version() == {"version": version, "commit": None, "changed": None}


def test_every_sitting_is_noted(tmp_path: Path) -> None:
    begin_sitting(tmp_path, None, torch.device("cpu"))
    note(tmp_path, 2)
    begin_sitting(tmp_path, None, torch.device("cpu"))
    noted = read_provenance(tmp_path)
    assert len(noted["sittings"]) == 2
    first = noted["sittings"][0]
    assert first.keys() == {"time", "version", "commit", "changed", "environment"}
    # torch's own number has the build, too: +cpu
    assert torch.__version__.startswith(first["environment"]["torch"].partition("+")[0])
    assert first["environment"]["device"] == "cpu"
    assert first["environment"]["deterministic"] is False
    assert noted["data"].keys() == {"1-first"}


def test_other_photographs_than_the_stage_was_begun_with_are_told(tmp_path: Path) -> None:
    before = note(tmp_path, 2)
    assert read_provenance(tmp_path)["data"] == {"1-first": before}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        note(tmp_path, 2)
    with pytest.warns(UserWarning, match="1-first goes on with other photographs") as told:
        after = note(tmp_path, 3)
    said = str(told[0].message)
    assert f"backlit: {before['backlit']} then, {after['backlit']} now" in said
    assert "well_lit" not in said
    assert read_provenance(tmp_path)["data"] == {"1-first": after}


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text("{")
    assert read_provenance(tmp_path) == {}
    begin_sitting(tmp_path, None, torch.device("cpu"))
    assert len(read_provenance(tmp_path)["sittings"]) == 1

"""A target is the object it names, and a wrong one is told by its cause."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_regression import ToyStage

from relit.errors import ConfigurationError
from relit.targets import resolve_target


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("toy_regression.ToyStag", "toy_regression has no 'ToyStag'. Did you mean ToyStage?"),
        ("toy_regresion.ToyStage", "there is no module 'toy_regresion'"),
        ("toy_regression.ToyStage.nothing", "ToyStage has no 'nothing'"),
        ("toy_regression.WIDTH", "is not a class or function"),
        ("toy_regression", "is not a class or function"),
        ("broken_target.anything", "importing broken_target failed: ZeroDivisionError"),
        ("missing_dependency_target.anything", "No module named 'not_installed_anywhere'"),
    ],
)  # fmt: skip
def test_wrong_targets_name_the_cause(
    target: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_target.py").write_text("1 / 0\n")
    (tmp_path / "missing_dependency_target.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError) as found:
        resolve_target(target)
    assert expected in str(found.value)


def test_resolved_target_is_the_object() -> None:
    assert resolve_target("toy_regression.ToyStage") is ToyStage
    assert resolve_target("pathlib.Path.cwd") == Path.cwd

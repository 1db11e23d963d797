"""Search spaces: what Hydra's words mean, and values that reach a run as they were drawn."""

from __future__ import annotations

from typing import Any

import pytest

optuna = pytest.importorskip("optuna")

from hydra.core.override_parser.overrides_parser import OverridesParser  # noqa: E402
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402

from relit.errors import ConfigurationError  # noqa: E402
from relit.sweep.search_space import SearchSpace, read_space  # noqa: E402


def space(*overrides: str) -> SearchSpace:
    return read_space(OverridesParser.create().parse_overrides(list(overrides)))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("lr=interval(0.5,2)", FloatDistribution(0.5, 2.0)),
        ("lr=tag(log,interval(1e-6,1e-2))", FloatDistribution(1e-6, 1e-2, log=True)),
        ("lr=int(interval(1,8))", IntDistribution(1, 8)),
        ("lr=tag(log,int(interval(1,8)))", IntDistribution(1, 8, log=True)),
        ("lr=range(1,8)", IntDistribution(1, 7)),  # as in Python, the end is not part of it
        ("lr=range(1,8,3)", IntDistribution(1, 7, step=3)),
        ("lr=range(1,7,3)", IntDistribution(1, 4, step=3)),
        ("lr=range(8,1,-2)", IntDistribution(2, 8, step=2)),
        ("lr=choice(a,b)", CategoricalDistribution(("a", "b"))),
        ("lr=1,2", CategoricalDistribution(("1", "2"))),
        ("lr=[1,2],null", CategoricalDistribution(("[1,2]", "null"))),
    ],
)
def test_words_of_hydra(written: str, meant: Any) -> None:
    assert space(written).searched == {"lr": meant}


@pytest.mark.parametrize(
    "written", ["lr=interval(2,1)", "lr=tag(log,interval(0,1))", "lr=range(0.1,1,0.1)", "lr=range(5,5)"]
)
def test_what_can_not_be_searched_is_named(written: str) -> None:
    with pytest.raises(ConfigurationError, match="lr="):
        space(written)


def test_nothing_to_search_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="sweep=optuna_clip_lit"):
        space("seed=1")


def test_the_later_of_two_counts() -> None:
    found = space("a=interval(0,1)", "b=interval(0,1)", "seed=1", "a=0.5", "seed=2", "b=choice(x,y)", "~c")
    assert found.fixed == ("a=0.5", "seed=2", "~c")
    assert found.searched == {"b": CategoricalDistribution(("x", "y"))}


def test_a_trial_gets_what_it_drew_to_the_last_digit() -> None:
    found = space(
        "seed=3",
        "a=tag(log,interval(1e-9,1))",
        "b=range(1,100)",
        "c=choice('x y',[1],0.1)",
        "+d=interval(0,1)",
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        fixed, *drawn = found.overrides(trial)
        assert fixed == "seed=3"
        assert [override.partition("=")[0] for override in drawn] == ["a", "b", "c", "+d"]
        parsed = OverridesParser.create().parse_overrides(drawn)
        a, b, c, d = (override.value() for override in parsed)
        assert (a, b, d) == (trial.params["a"], trial.params["b"], trial.params["+d"])
        assert c in ("x y", [1], 0.1)
        assert found.overrides(trial) == [fixed, *drawn]  # asked again, nothing is drawn anew

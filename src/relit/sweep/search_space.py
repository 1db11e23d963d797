"""A search space written as Hydra overrides, and the overrides that a trial of it gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from relit.errors import ConfigurationError


@dataclass(frozen=True)
class SearchSpace:
    """What all trials have in common, and what each draws.

    Attributes:
        fixed: overrides ``key=value`` of every trial.
        searched: what the others are drawn from, by key.
    """

    fixed: tuple[str, ...]
    searched: Mapping[str, BaseDistribution]

    def overrides(self, trial: Trial) -> list[str]:
        """All overrides of ``trial``; what it has not drawn yet is drawn now."""
        drawn = [f"{key}={as_text(suggest(trial, key, among))}" for key, among in self.searched.items()]
        return [*self.fixed, *drawn]


def read_space(overrides: Sequence[Override]) -> SearchSpace:
    """The space that ``overrides`` describe; of two with one key the later one counts.

    ``interval(a,b)`` is drawn from evenly, ``tag(log,interval(a,b))`` on a logarithmic scale,
    ``int(interval(a,b))`` and ``range(a,b,step)`` give whole numbers, ``choice(x,y)`` or ``x,y`` what they
    list.

    Raises:
        ConfigurationError: an override can't be searched, or none is to be.
    """
    fixed: dict[str, str] = {}
    searched: dict[str, BaseDistribution] = {}
    for override in overrides:
        key = override.get_key_element()
        fixed.pop(key, None)
        searched.pop(key, None)
        if override.is_sweep_override():
            searched[key] = _distribution(override)
        else:
            # a deletion, ~key, has no value
            fixed[key] = override.input_line or f"{key}={override.get_value_element_as_str()}"
    if not searched:
        raise ConfigurationError(
            "sweep: there is nothing to search. Choose a space, such as sweep=optuna_clip_lit, or give one: "
            "'stage.enhancement.module.optimizer.lr=tag(log,interval(1e-6,1e-3))'."
        )
    return SearchSpace(tuple(fixed.values()), searched)


def suggest(trial: Trial, key: str, among: BaseDistribution) -> Any:
    """The value of ``key`` in ``trial``."""
    if isinstance(among, FloatDistribution):
        return trial.suggest_float(key, among.low, among.high, log=among.log)
    if isinstance(among, IntDistribution):
        return trial.suggest_int(key, among.low, among.high, step=among.step, log=among.log)
    assert isinstance(among, CategoricalDistribution)
    return trial.suggest_categorical(key, among.choices)


def as_text(value: Any) -> str:
    """``value`` as Hydra reads it back: choices are texts already, floats keep all their digits."""
    return value if isinstance(value, str) else repr(value)


def _distribution(override: Override) -> BaseDistribution:
    among = override.value()
    try:
        if isinstance(among, IntervalSweep):
            return _interval(among)
        if isinstance(among, RangeSweep):
            return _range(among)
        return CategoricalDistribution(tuple(override.sweep_string_iterator()))
    except ValueError as error:
        raise ConfigurationError(f"sweep: {override.input_line}: {error}") from error


def _interval(among: IntervalSweep) -> BaseDistribution:
    low, high, log = among.start, among.end, "log" in among.tags
    assert low is not None
    assert high is not None
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _range(among: RangeSweep) -> BaseDistribution:
    numbers = among.range()
    if not isinstance(numbers, range) or not numbers:
        raise ValueError("a range to search holds whole numbers; use interval(a,b), or choice(x,y)")
    return IntDistribution(min(numbers), max(numbers), step=abs(numbers.step))

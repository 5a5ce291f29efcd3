"""What a search may choose: `{low, high, log, step}` or `{choices}` in YAML, Hydra's sweep syntax where typed."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from lmlab.errors import ConfigError

Space = dict[str, BaseDistribution]


def search_space(space: Mapping[str, Mapping[str, Any]], typed: Iterable[Override]) -> tuple[Space, list[str]]:
    """The distribution of each key, and the overrides that all trials share; what is typed wins over YAML."""
    found = {key: from_yaml(key, spec) for key, spec in space.items()}
    fixed = []
    for override in typed:
        found.pop(override.key_or_group, None)
        if override.is_sweep_override():
            found[override.get_key_element()] = from_typed(override)
        else:
            fixed.append(str(override.input_line))
    if not found:
        raise ConfigError(
            "nothing is left to search", "sweep.space", "Add a key, e.g. 'optimizer.lr=interval(1e-4,1e-2)'"
        )
    return found, fixed


def from_yaml(key: str, spec: Mapping[str, Any]) -> BaseDistribution:
    """Whole bounds mean whole numbers."""
    if "choices" in spec:
        return CategoricalDistribution([written(choice) for choice in spec["choices"]])
    return between(key, spec["low"], spec["high"], spec.get("log", False), spec.get("step"))


def from_typed(override: Override) -> BaseDistribution:
    value = override.value()
    if isinstance(value, IntervalSweep):
        return between(override.key_or_group, value.start, value.end, "log" in value.tags, None)
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def between(key: str, low: Any, high: Any, log: bool, step: Any) -> BaseDistribution:
    whole = all(isinstance(number, int) for number in (low, high, step or 0))
    try:
        if whole:
            return IntDistribution(low, high, log=log, step=step or 1)
        return FloatDistribution(low, high, log=log, step=step)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}", "sweep.space") from None


def written(value: Any) -> str:
    """A value in the words of an override; JSON's words are those of Hydra's grammar too."""
    return value if isinstance(value, str) and re.fullmatch(r"[\w./+-]+", value) else json.dumps(value)

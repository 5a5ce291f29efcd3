"""The `sweep` node: its keys, their values and the space of a search."""

import ast
from collections.abc import Mapping
from typing import Any

from lmlab.check.calls import unfit
from lmlab.check.nearest import did_you_mean
from lmlab.check.origin import Origin
from lmlab.check.run_name import refuse_name
from lmlab.check.values import misfit
from lmlab.errors import ConfigError

KEYS = {
    "name": "str | None",
    "on_error": "Literal['continue', 'stop']",
    "job": "NonNegativeInt | None",
    "n_trials": "PositiveInt",
    "n_parallel": "PositiveInt | None",
    "sampler": "str",
    "sampler_options": "Mapping | None",
    "pruner": "str | None",
    "pruner_options": "Mapping | None",
    "seed": "Seed",
    "space": "Mapping[str, Mapping]",
}
BETWEEN = {"low": "float", "high": "float", "log": "bool", "step": "PositiveFloat | None"}
AMONG = {"choices": "list"}


def sweep_keys(sweep: Mapping[str, Any], origin: Origin | None = None) -> None:
    """Raises ConfigError for a key or a value that no sweep could be made of."""
    origin = origin or Origin()
    refuse_node(sweep, KEYS, ("sweep",), origin)
    if sweep.get("name") is not None:
        refuse_name("sweep.name", sweep["name"], origin(("sweep", "name")))
    for key, spec in (sweep.get("space") or {}).items():
        path = ("sweep", "space", key)
        kind = AMONG if "choices" in spec else BETWEEN
        refuse_node(spec, kind, path, origin)
        if kind is BETWEEN and not {"low", "high"} <= set(spec):
            raise ConfigError(
                f"{'.'.join(path)} has no bounds", origin(path), "Write {low: ..., high: ...} or {choices: [...]}"
            )


def refuse_node(node: Mapping[str, Any], kinds: Mapping[str, str], path: tuple[str, ...], origin: Origin) -> None:
    for key, value in node.items():
        place = ".".join((*path, key))
        if key not in kinds:
            raise ConfigError(f"unknown key {place}", origin((*path, key)), did_you_mean(key, kinds))
        if problem := misfit(value, ast.parse(kinds[key], mode="eval").body):
            raise unfit(place, *problem, where=origin((*path, key)))

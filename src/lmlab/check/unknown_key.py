"""A key that the config does not have, answered with the one that was meant, what it holds and its default."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lmlab.check.metadata import with_metadata
from lmlab.check.nearest import nearest
from lmlab.check.outline import option, outline
from lmlab.check.override import Override
from lmlab.check.signatures import Signature, signature
from lmlab.check.values import annotation, in_words
from lmlab.check.yaml_files import groups, top_level_keys
from lmlab.errors import ConfigError

MISSING = object()


def unknown_key(override: Override, overrides: Sequence[Override]) -> ConfigError:
    """The nearest known key; a key that a target takes and only the YAML leaves out is offered with its `+`."""
    known = dict(keys(outline(chosen(overrides))))
    parent, _, leaf = override.key.rpartition(".")
    target, takes = called(known, parent)
    if having := [
        name for name in groups()["sweep"] if parent == "sweep" and leaf in option("sweep", name).get("sweep", {})
    ]:
        return ConfigError(f"{override.key} belongs to a search", "command line", f"Add sweep={having[0]}")
    if others := having_it(override.key):
        return ConfigError(f"{override.key} is not in this config", "command line", f"These have it: {others}")
    if takes is not None and leaf in takes.annotations:
        fix = f"{target} takes it: write +{override.key}={override.value}"
        return ConfigError(f"{override.key} is not in the config", "command line", fix)
    top = {group for group in groups() if "/" not in group} | top_level_keys()
    same_name = [key for key, value in known.items() if key.endswith(f".{leaf}") and "${" not in str(value)]
    guess = nearest(override.key, same_name, cutoff=0) or nearest(override.key, known if parent else top, cutoff=0.7)
    guess = guess or nearest(override.key, known)
    near = known.get(parent) or {}
    siblings = [name for name in near if not name.startswith("_")] if isinstance(near, Mapping) else []
    listed = f"{parent} has {', '.join(siblings)}" if siblings else f"Known are {', '.join(sorted(top_level_keys()))}"
    fix = f"Did you mean {told(guess, known)}?" if guess else listed
    return ConfigError(f"unknown key {override.key}", "command line", fix)


def having_it(key: str) -> str:
    """The options of the key's group that have it, where the one that is chosen has not."""
    group, *path = key.split(".")
    if not path or group not in groups():
        return ""
    found = []
    for name in groups()[group]:
        node: Any = option(group, name)
        for part in (group, *path):
            node = node.get(part, MISSING) if isinstance(node, Mapping) else MISSING
        found += [f"{group}={name}"] * (node is not MISSING)
    return ", ".join(found)


def chosen(overrides: Sequence[Override]) -> dict[str, str]:
    """The group choices among overrides, the first one of a sweep."""
    return {typed.key: typed.value.partition(",")[0] for typed in overrides if typed.key in groups() and typed.value}


def told(key: str, known: Mapping[str, Any]) -> str:
    """A known key with its kind and default."""
    parent, _, leaf = key.rpartition(".")
    target, takes = called(known, parent)
    if takes is not None and leaf in takes.annotations:
        return f"{parent}.{described(leaf, target, takes, known[parent])}"
    value = known.get(key)
    return key if value is None or isinstance(value, Mapping) else f"{key} (default {value})"


def described(name: str, target: str, takes: Signature, node: Mapping[str, Any]) -> str:
    """`d_model (whole number >= 1, default 128)`: the default is the config's own where it has one."""
    kind = in_words(annotation(target, name, takes.annotations[name]))
    default = takes.defaults[name]
    value = str(node[name]) if name in node else ast.unparse(default) if default is not None else ""
    facts = ", ".join(filter(None, [kind, f"default {value}" if value else ""]))
    return f"{name} ({facts})" if facts else name


def called(known: Mapping[str, Any], place: str) -> tuple[str, Signature | None]:
    """The target of the node at a place, and what may stand there."""
    node = known.get(place)
    target = str(node.get("_target_", "")) if isinstance(node, Mapping) else ""
    takes = signature(target) if target else None
    return target, takes and with_metadata(takes, place)


def keys(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key of a config with its value; Hydra's own keys are no candidates."""
    for name, value in node.items():
        if not str(name).startswith("_"):
            yield f"{prefix}{name}", value
            if isinstance(value, Mapping):
                yield from keys(value, f"{prefix}{name}.")

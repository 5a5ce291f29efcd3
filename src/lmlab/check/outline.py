"""The config as the YAML files write it, put together without Hydra: enough to say what a key was meant to be.

Interpolations stay text and the finer rules of Hydra are left out, so nothing is run from an outline.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from lmlab.check.yaml_files import CONF, content, package, yaml_files

Config = dict[str, Any]


def outline(typed: Mapping[str, str]) -> Config:
    """The whole config for these group choices; those that files make (`override /tokenizer: word`) come second."""
    choices = dict(typed)
    while True:
        config, made = included(CONF / "config.yaml", choices)
        if {**made, **typed} == choices:
            return config
        choices = {**made, **typed}


@lru_cache
def option(group: str, name: str) -> Config:
    """What one option alone brings, with the files that it builds on."""
    file = CONF / group / f"{name}.yaml"
    return included(file, {})[0] if file in yaml_files() else {}


def included(file: Path, choices: Mapping[str, str]) -> tuple[Config, dict[str, str]]:
    """A file's content on top of its defaults, each at its package; and the choices that it overrides."""
    own = dict(content(file))
    defaults = own.pop("defaults", [])
    for part in reversed(package(file)):
        own = {part: own}
    config: Config = {}
    made: dict[str, str] = {}
    for entry in defaults if "_self_" in defaults else [*defaults, "_self_"]:
        if entry == "_self_":
            config = merged(config, own)
            continue
        group, name = named(entry, file)
        if group.startswith("override "):
            made[group.removeprefix("override ").lstrip("/")] = name
            continue
        if isinstance(entry, Mapping):  # a choice; a bare name is a fixed part
            name = choices.get(group, name)
        if (below := CONF / group / f"{name}.yaml") in yaml_files():
            more, others = included(below, choices)
            config, made = merged(config, more), made | others
    return config, made


def named(entry: str | Mapping[str, str], file: Path) -> tuple[str, str]:
    """Group and option of an entry in a file's defaults; a relative one is below the file's own group."""
    if isinstance(entry, Mapping):
        [(group, name)] = entry.items()
    else:
        group, _, name = entry.rpartition("/")
        group = group or ("/" if entry.startswith("/") else "")
    group = group.removeprefix("optional ").partition("@")[0]
    if not group.startswith(("/", "override ")):
        group = "/".join(part for part in (file.relative_to(CONF).parent.as_posix(), group) if part not in ("", "."))
    return group.lstrip("/"), str(name).partition("@")[0]


def merged(below: Config, above: Config) -> Config:
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result

"""The YAML files under conf/ read without Hydra: groups, their options, the file and line that hold a key."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

CONF = Path(__file__).resolve().parents[3] / "conf"
LAYERED = ("experiment", "sweep", "debug")  # groups that rewrite other groups' nodes


@lru_cache
def yaml_files() -> tuple[Path, ...]:
    """Every file of lmlab's config; conf/hydra configures Hydra itself."""
    return tuple(file for file in sorted(CONF.rglob("*.yaml")) if file.relative_to(CONF).parts[0] != "hydra")


@lru_cache
def groups() -> dict[str, list[str]]:
    """Group -> its options, those in folders below it too (data=glue/cola); what options build on is in base/."""
    found: dict[str, list[str]] = {}
    for file in yaml_files():
        if file.parent != CONF:
            group, _, option = file.relative_to(CONF).with_suffix("").as_posix().partition("/")
            below = "/base" if option.startswith("base/") else ""
            found.setdefault(group + below, []).append(option.removeprefix("base/"))
    return found | {group: [] for group in LAYERED if group not in found}


@lru_cache
def text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


@lru_cache
def top_level_keys() -> frozenset[str]:
    """What may stand at the top of a config: the keys of config.yaml itself and the groups."""
    own = re.findall(r"^(\w+):", text(CONF / "config.yaml"), re.MULTILINE)
    return frozenset(own) - {"defaults"} | {group for group in groups() if "/" not in group}


def written_somewhere(name: str) -> bool:
    """Whether any file writes a key of this name, anywhere: a cheap first question about an unknown key."""
    return any(re.search(rf"(?<![\w.-]){re.escape(name)}\s*:", text(file)) for file in yaml_files())


def package(file: Path) -> tuple[str, ...]:
    """Where in the config Hydra puts a file's content: its `# @package` line, else its group."""
    header = re.search(r"^#\s*@package\s+(\S+)", text(file), re.MULTILINE)
    if header is None or header[1] == "_group_":
        return file.relative_to(CONF).parent.parts
    return () if header[1] == "_global_" else tuple(header[1].split("."))


@lru_cache
def content(file: Path) -> dict[str, Any]:
    """A file's own content, interpolations unresolved."""
    import yaml  # here: most answers need no YAML parser

    return yaml.load(text(file), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}


def locate(path: Sequence[str], choices: Mapping[str, Any]) -> str:
    """`conf/experiment/imdb.yaml:7`, where a key stands, or nothing if no file holds it."""
    for file in by_precedence(choices):
        if line := line_of(path, file):
            return f"{file.relative_to(CONF.parent).as_posix()}:{line}"
    return ""


def by_precedence(choices: Mapping[str, Any]) -> Iterator[Path]:
    """All files, those first that can have had the last word: experiments, chosen options, their bases, config.yaml."""
    ranked = sorted(choices.items(), key=lambda choice: choice[0] not in LAYERED)
    chosen = [file for group, option in ranked if (file := CONF / group / f"{option}.yaml") in yaml_files()]
    first = [*chosen, *(base for file in chosen for base in bases(file)), CONF / "config.yaml"]
    yield from first
    yield from (file for file in yaml_files() if file not in first)


def bases(file: Path) -> Iterator[Path]:
    """The files that a file's defaults list names, the nearest first."""
    for entry in content(file).get("defaults", ()):
        if isinstance(entry, str) and entry != "_self_":
            folder = CONF if entry.startswith("/") else file.parent
            yield (base := folder / f"{entry.lstrip('/')}.yaml")
            yield from bases(base)


def line_of(path: Sequence[str], file: Path) -> int | None:
    """The line on which `file` writes the key at `path`."""
    import yaml

    prefix = package(file)
    if tuple(path[: len(prefix)]) != prefix:
        return None
    node, line = yaml.compose(text(file)), None
    for key in path[len(prefix) :]:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next((pair for pair in pairs if pair[0].value == key), None)
        if found is None:
            return None
        node, line = found[1], found[0].start_mark.line + 1
    return line

"""Where a value of a composed config comes from: typed, a finished run, or a line of a YAML file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmlab.check.yaml_files import locate


@dataclass(frozen=True)
class Origin:
    """What was typed, which options were chosen, and the run folder that the config started from."""

    typed: Sequence[str] = ()
    choices: Mapping[str, Any] = field(default_factory=dict)
    run: str | None = None
    unresolved: Mapping[str, Any] = field(default_factory=dict)

    def written_as(self, path: Sequence[str]) -> tuple[str, ...]:
        """The key whose value stands at `path`: another one where that is `${another.one}`."""
        node: Any = self.unresolved
        for depth, key in enumerate(path):
            node = node.get(key) if isinstance(node, Mapping) else None
            if isinstance(node, str) and (referred := re.fullmatch(r"\$\{([\w.]+)\}", node)):
                return self.written_as((*referred[1].split("."), *path[depth + 1 :]))
        return tuple(path)

    def __call__(self, path: Sequence[str]) -> str:
        """The place in words; looked up only when an error names it."""
        dotted = ".".join(path)
        for typed in self.typed:
            key = typed.lstrip("+~").partition("=")[0]
            if dotted == key or ("." in key and dotted.startswith(f"{key}.")):
                return "command line"
        if self.run and path[0] not in ("stage", "run"):
            return f"{self.run}/config.yaml"
        below = any(typed.lstrip("+~").startswith(f"{dotted}.") for typed in self.typed)
        return locate(path, self.choices) or ("command line" if below else "")

"""One `key=value` as typed."""

import re
from dataclasses import dataclass

from lmlab.check.yaml_files import groups
from lmlab.errors import ConfigError

FORM = re.compile(r"(?P<sign>\+\+|\+|~)?(?P<key>[\w./@:-]+)(=(?P<value>.*))?", re.DOTALL)


@dataclass(frozen=True)
class Override:
    """`sign` is Hydra's: nothing changes a key, + adds one, ++ does either, ~ deletes."""

    sign: str
    key: str
    value: str | None

    def __str__(self) -> str:
        return f"{self.sign}{self.key}" + ("" if self.value is None else f"={self.value}")


def parse(argument: str) -> Override:
    """An argument taken apart; a word without `=` is answered with what was probably meant."""
    match = FORM.fullmatch(argument)
    if match is None or (match["value"] is None and match["sign"] != "~"):
        owner = next((group for group, options in groups().items() if argument in options), None)
        fix = f"Did you mean {owner}={argument}?" if owner else "Write key=value, without spaces around ="
        raise ConfigError(f"{argument!r} is not an override", "command line", fix)
    return Override(match["sign"] or "", match["key"], match["value"])

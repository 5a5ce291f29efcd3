"""Names that become folders: inside the output folder, whatever is typed."""

import re

from lmlab.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def refuse_name(key: str, value: object, where: str) -> None:
    if not NAME.fullmatch(str(value)) or set(str(value)) == {"."}:
        fix = "Use letters, digits, dot, dash and underscore, at most 64"
        raise ConfigError(f"{key}: a name expected, got {str(value)!r}", where, fix)

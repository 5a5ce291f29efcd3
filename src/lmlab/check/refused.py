"""What Hydra refused to compose, said in lmlab's words."""

import re
from collections.abc import Sequence

from lmlab.check.override import Override
from lmlab.check.unknown_key import unknown_key
from lmlab.errors import ConfigError


def explain(error: Exception, overrides: Sequence[Override]) -> ConfigError:
    """The ConfigError for an exception of Hydra or OmegaConf: an unknown key, or its own first sentence."""
    said = " ".join(str(error).split())
    if refused := re.search(r"Could not override '([^']+)'", said):
        for override in overrides:
            if override.key == refused[1]:
                return unknown_key(override, overrides)
    fix = ""
    if "Ambiguous value" in said:
        said = said.partition(" 1. ")[0]
        fix = "-m makes one run of each value; key=[a,b] is a list; quotes make it one text"
    elif "already at" in said:
        fix = "Leave out the +"
    elif unread := re.search(r"LexerNoViableAltException: (.*?) *\^|Error parsing override '(.*?)' ", f"{said} "):
        said = f"{unread[1] or unread[2]} cannot be read"
    if any(
        sign in said for sign in (" cannot be read", "mismatched input", "token recognition", "no viable alternative")
    ):
        fix = "A value with other than letters, digits, . - _ / stands in two pairs of quotes: \"key='a=b'\""
    place = "command line"
    if in_file := re.match(r"In '([\w/]+)': ", said):
        said, place = said[in_file.end() :], f"conf/{in_file[1]}.yaml"
    if error.__cause__ is not None and (not said or fix):
        said = f"{said} {error.__cause__}".strip()
    said = re.split(
        r" full_key:| object_type=| Either remove| Available options in| See https", " ".join(said.split())
    )[0]
    return ConfigError(said.strip(" .") or type(error).__name__, place, fix)

"""Values on the command line held against annotations before Hydra is imported: a sweep fails before its first job."""

import re
from collections.abc import Sequence

from lmlab.check.calls import unfit
from lmlab.check.outline import outline
from lmlab.check.override import Override
from lmlab.check.unknown_key import called, chosen, keys
from lmlab.check.values import annotation, misfit

PLAIN = re.compile(r"[\w.+-]*")  # all else (quotes, lists, interpolations) is left to Hydra's grammar
WHOLE = re.compile(r"[+-]?(0|[1-9][0-9_]*)")
NUMBER = re.compile(r"[+-]?((\d+\.\d*|\.\d+)(e[+-]?\d+)?|\d+e[+-]?\d+|nan|inf)", re.IGNORECASE)
WORDS = {"true": True, "false": False, "null": None}


def refuse_misfits(overrides: Sequence[Override], sweep: bool) -> None:
    """Raises ConfigError for the first value that its key's annotation does not allow."""
    if not any("." in override.key for override in overrides):
        return
    known = dict(keys(outline(chosen(overrides))))
    for override in overrides:
        parent, _, leaf = override.key.rpartition(".")
        target, takes = called(known, parent)
        if takes is None or leaf not in takes.annotations or override.value is None:
            continue
        kind = annotation(target, leaf, takes.annotations[leaf])
        for value in override.value.split(",") if sweep else [override.value]:
            if PLAIN.fullmatch(value) and (problem := misfit(read(value), kind)):
                raise unfit(override.key, *problem, where="command line")


def read(value: str) -> bool | int | float | str | None:
    """A plain value as Hydra's grammar reads it."""
    if value.lower() in WORDS:
        return WORDS[value.lower()]
    return int(value) if WHOLE.fullmatch(value) else float(value) if NUMBER.fullmatch(value) else value

"""One `_target_` of a config with its keys and values, held against the signature in its source."""

from collections.abc import Mapping
from typing import Any

from lmlab.check.nearest import nearest
from lmlab.check.origin import Origin
from lmlab.check.signatures import Signature, allowed, signature
from lmlab.check.unknown_key import described
from lmlab.check.values import annotation, misfit
from lmlab.errors import ConfigError

METADATA = {  # keys that the checks and the stages read; no constructor sees them
    "data": {"provides"},
    "task": {"needs", "architecture", "batches", "label_column", "monitor", "mode", "answers"},
    "model": {"architectures", "carries_state", "exports", "head", "orders"},
    "trainer": {"launcher"},
}
HYDRA_KEYS = {"_target_", "_partial_", "_convert_", "_recursive_"}


def refuse_call(node: Mapping[str, Any], path: tuple[str, ...], origin: Origin) -> None:
    """Raises ConfigError for a target that may not be called, a key it does not take, a value that does not fit."""
    target, place = str(node["_target_"]), ".".join(path)
    if not allowed(target):
        fix = "Named may be what lmlab defines, Lightning's Trainer, loggers and callbacks, and torch.optim"
        raise ConfigError(f"{place}: a config may not call {target!r}", origin((*path, "_target_")), fix)
    if (takes := signature(target)) is None:
        return
    for key in node.keys() - HYDRA_KEYS - takes.annotations.keys() if not takes.open else ():
        if key not in METADATA.get(place, ()):
            raise ConfigError(f"unknown key {place}.{key}", origin((*path, key)), meant(key, target, takes, node))
    for key in node.keys() & takes.annotations.keys():
        if problem := misfit(node[key], annotation(target, key, takes.annotations[key])):
            written = origin.written_as((*path, key))
            raise unfit(".".join(written), *problem, where=origin(written))
    refuse_uneven_heads(node, place)


def refuse_uneven_heads(node: Mapping[str, Any], place: str) -> None:
    width, heads = node.get("d_model"), node.get("n_heads")
    if width and heads and width % heads:
        near = max(round(width / heads), 1) * heads
        raise ConfigError(
            f"{place}.d_model: {width} is not divisible by {heads}",
            f"{place}.n_heads",
            f"Try {place}.d_model={near}",
        )


def meant(key: str, target: str, takes: Signature, node: Mapping[str, Any]) -> str:
    """`Did you mean d_model (whole number >= 1, default 128)?`, or what the target takes."""
    if guess := nearest(key, takes.annotations):
        return f"Did you mean {described(guess, target, takes, node)}?"
    return f"{target} takes {', '.join(takes.annotations) or 'nothing'}"


def unfit(place: str, inside: str, part: Any, expected: str, where: str) -> ConfigError:
    """`model.network.d_model: whole number >= 1 expected, got 'abc'`."""
    fix = ""
    if expected.startswith("text") and isinstance(part, bool | int | float):
        fix = "YAML reads no, 010 and 12:30 as other things than text: write it in quotes"
    elif isinstance(part, str) and expected.startswith("one of "):
        guess = nearest(part, expected.removeprefix("one of ").partition(" or ")[0].split(", "))
        fix = f"Did you mean {guess}?" if guess else ""
    got = "nothing" if part == "" else "null" if part is None else repr(part)
    return ConfigError(f"{place}{inside}: {expected} expected, got {got}", where, fix)

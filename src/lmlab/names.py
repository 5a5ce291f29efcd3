"""Dotted names of the config."""

from collections.abc import Iterable


def covered(name: str, by: Iterable[str]) -> bool:
    """Whether `name`, or a name above it, is among `by`."""
    return any(name == one or name.startswith(f"{one}.") for one in by)

"""Names of the config, and the name that a run has from them."""

from collections.abc import Iterable, Mapping


def covered(name: str, by: Iterable[str]) -> bool:
    """Whether `name`, or a name above it, is among `by`."""
    return any(name == one or name.startswith(f"{one}.") for one in by)


def run_name(choices: Mapping[str, str]) -> str:
    """`<model>-<data>`, one folder's name: data=glue/cola is no folder in a folder."""
    return f"{choices['model']}-{choices['data']}".replace("/", "-")

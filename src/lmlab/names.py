"""Names that several parts know: those of the config, of a run, and of its checkpoints."""

from collections.abc import Iterable, Mapping

VALIDATED = "-validated"  # ends the stem of a checkpoint that was saved after a validation


def covered(name: str, by: Iterable[str]) -> bool:
    """Whether `name`, or a name above it, is among `by`."""
    return any(name == one or name.startswith(f"{one}.") for one in by)


def run_name(choices: Mapping[str, str]) -> str:
    """`<model>-<data>`, one folder's name: data=glue/cola is no folder in a folder."""
    return f"{choices['model']}-{choices['data']}".replace("/", "-")

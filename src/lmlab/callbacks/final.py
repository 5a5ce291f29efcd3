"""What a run is judged by: its last evaluations, of the splits that its corpus is scored on, and what is measured."""

from difflib import get_close_matches

import lightning.pytorch as pl

from lmlab.errors import ConfigError


def split_of(trainer: pl.Trainer) -> str | None:
    """The split that is being judged by; None while training goes on."""
    split = {"validate": "val", "test": "test"}.get(str(trainer.state.fn and trainer.state.fn.value))
    return split if split in trainer.datamodule.scored else None  # type: ignore[attr-defined]


def called(trainer: pl.Trainer, name: str, split: str) -> str:
    """A file's name, to which that of the split is added where it is not the last that the corpus is scored on."""
    return name if split == trainer.datamodule.scored[-1] else f"{name}_{split}"  # type: ignore[attr-defined]


def refuse_unmeasured(trainer: pl.Trainer, name: str, key: str) -> None:
    """Raises ConfigError for a number that no validation tells."""
    known = sorted(told for told in trainer.callback_metrics if told.startswith("val/"))
    if name not in trainer.callback_metrics:
        fix = f"Did you mean {near[0]}?" if (near := get_close_matches(name, known, 1)) else "Choose one of them"
        raise ConfigError(f"a validation tells {', '.join(known)}, and no {name}", key, fix)

"""The last evaluations of a run, by which it is judged: of the splits that its corpus is scored on."""

import lightning.pytorch as pl


def split_of(trainer: pl.Trainer) -> str | None:
    """The split that is being judged by; None while training goes on."""
    split = {"validate": "val", "test": "test"}.get(str(trainer.state.fn and trainer.state.fn.value))
    return split if split in trainer.datamodule.scored else None  # type: ignore[attr-defined]


def called(trainer: pl.Trainer, name: str, split: str) -> str:
    """A file's name, to which that of the split is added where it is not the last that the corpus is scored on."""
    return name if split == trainer.datamodule.scored[-1] else f"{name}_{split}"  # type: ignore[attr-defined]

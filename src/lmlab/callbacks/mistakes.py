"""The rows that a model got most wrong: classes it was surest of, and scores farthest from the truth."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

from lmlab.callbacks.final import called, split_of
from lmlab.ranges import PositiveInt


class Mistakes(Callback):
    """Writes the `n` worst mistakes of a last evaluation to predictions/mistakes.csv and to W&B."""

    def __init__(self, folder: str, n: PositiveInt = 50) -> None:
        self.folder, self.n = Path(folder), n
        self.worst: list[tuple[float, int, float, float]] = []  # how wrong, row, truth, prediction

    def on_test_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.worst = []

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.worst = []

    def on_test_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        self.collect(trainer, outputs)

    def on_validation_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        self.collect(trainer, outputs)

    def on_test_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.write(trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.write(trainer, module)

    def collect(self, trainer: pl.Trainer, outputs: Mapping[str, Tensor] | None) -> None:
        if outputs and split_of(trainer):
            self.worst = sorted((*self.worst, *mistakes(outputs)), reverse=True)[: self.n]

    def write(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        split, found = split_of(trainer), self.worst
        if split is None:
            return
        if trainer.world_size > 1:
            gathered: list[Any] = [None] * trainer.world_size
            dist.all_gather_object(gathered, self.worst)
            found = sorted((mistake for rank in gathered for mistake in rank), reverse=True)[: self.n]
        if not trainer.is_global_zero or not found:
            return
        corpus, classes = trainer.datamodule, getattr(module.task, "classes", None)  # type: ignore[attr-defined]
        header = ["probability" if classes else "error", "row", "label", "predicted", "text"]
        name = classes.__getitem__ if classes else "{:.3f}".format
        rows = [
            [wrong, row, name(truth), name(guess), corpus.text(split, row)]  # type: ignore[operator]
            for wrong, row, truth, guess in found
        ]
        path = self.folder / "predictions" / f"{called(trainer, 'mistakes', split)}.csv"
        path.parent.mkdir(exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_table(f"{split}/mistakes", columns=header, data=rows)


def mistakes(outputs: Mapping[str, Tensor]) -> list[tuple[float, int, float, float]]:
    """(how wrong, row, truth, prediction) of what a task told of a batch's rows."""
    if "predicted" in outputs:
        wrong = outputs["predicted"] != outputs["label"]
        columns = [outputs[name][wrong] for name in ("probability", "rows", "label", "predicted")]
    elif "estimate" in outputs:
        score, estimate = outputs["score"], outputs["estimate"]
        columns = [(score - estimate).abs(), outputs["rows"], score, estimate]
    else:
        return []
    return list(zip(*(column.tolist() for column in columns), strict=True))

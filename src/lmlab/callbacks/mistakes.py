"""The test rows that a classifier got wrong with the greatest confidence."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger

from lmlab.ranges import PositiveInt


class Mistakes(Callback):
    """Writes the `n` most confident mistakes of a test to predictions/mistakes.csv and to W&B."""

    def __init__(self, folder: str, n: PositiveInt = 50) -> None:
        self.folder, self.n = Path(folder), n
        self.worst: list[tuple[float, int, int, int]] = []  # probability, row, label, predicted

    def on_test_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.worst = []

    def on_test_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Mapping[str, Any] | None, *_: Any
    ) -> None:
        if not outputs or "predicted" not in outputs:
            return
        wrong = outputs["predicted"] != outputs["label"]
        columns = (outputs[name][wrong].tolist() for name in ("probability", "rows", "label", "predicted"))
        self.worst = sorted((*self.worst, *zip(*columns, strict=True)), reverse=True)[: self.n]

    def on_test_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        found = self.worst
        if trainer.world_size > 1:
            gathered: list[Any] = [None] * trainer.world_size
            dist.all_gather_object(gathered, self.worst)
            found = sorted((mistake for rank in gathered for mistake in rank), reverse=True)[: self.n]
        if not trainer.is_global_zero or not found:
            return
        classes: tuple[str, ...] = module.task.classes  # type: ignore[assignment]
        corpus = trainer.datamodule  # type: ignore[attr-defined]
        header = ["probability", "row", "label", "predicted", "text"]
        rows = [[p, row, classes[label], classes[guess], corpus.text("test", row)] for p, row, label, guess in found]
        path = self.folder / "predictions" / "mistakes.csv"
        path.parent.mkdir(exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_table("test/mistakes", columns=header, data=rows)

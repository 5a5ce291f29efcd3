"""Tokens and rows a second, over all ranks, the time of evaluation left out."""

import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lmlab.ranges import PositiveInt


class Throughput(Callback):
    """Logs throughput/{tokens,rows}_per_second of the training so far; padding is not counted as tokens."""

    def __init__(self, every: PositiveInt = 10) -> None:
        self.every = every  # batches between two measurements
        self.seconds, self.rows, self.tokens = 0.0, 0, 0
        self.since: float | None = None
        self.new: list[Tensor] = []  # token counts, left on the device until they are needed

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        self.since = self.since or time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Mapping[str, Tensor], index: int
    ) -> None:
        self.new.append(batch["mask"].sum())
        self.rows += len(batch["mask"])
        if (index + 1) % self.every == 0:
            self.measure(trainer)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.measure(trainer)
        self.since = None

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.measure(trainer)

    def measure(self, trainer: pl.Trainer) -> None:
        """Add what was done since the last measurement, and tell the average; ranks work at one pace."""
        if self.since is None or not self.new:
            return
        self.tokens += int(torch.stack(self.new).sum())
        self.new.clear()
        now = time.perf_counter()
        self.seconds, self.since = self.seconds + now - self.since, now
        per_second = {
            "throughput/tokens_per_second": self.tokens * trainer.world_size / self.seconds,
            "throughput/rows_per_second": self.rows * trainer.world_size / self.seconds,
        }
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in per_second.items()})
        for logger in trainer.loggers:
            logger.log_metrics(per_second, step=trainer.global_step)

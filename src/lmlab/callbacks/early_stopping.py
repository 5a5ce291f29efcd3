"""A training ends when it no longer gets better."""

import sys
from typing import Literal

import lightning.pytorch as pl
from lightning.pytorch import callbacks

from lmlab.callbacks.final import refuse_unmeasured
from lmlab.ranges import PositiveInt


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's, which counts validations without a better score in the checkpoint; off where `patience` is None."""

    def __init__(self, monitor: str, mode: Literal["min", "max"], patience: PositiveInt | None = None) -> None:
        super().__init__(monitor, mode=mode, patience=patience or sys.maxsize, strict=False, check_finite=False)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            refuse_unmeasured(trainer, self.monitor, "callbacks.early_stopping.monitor")
        super().on_validation_end(trainer, module)

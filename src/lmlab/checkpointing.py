"""What a checkpoint holds beside the weights, and how its files are named."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback


class ConfigInCheckpoint(Callback):
    """Writes the resolved config into each checkpoint as plain types, so that it loads with `weights_only=True`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = dict(self.config)

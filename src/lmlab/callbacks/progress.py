"""One bar for the whole training: loss, tokens a second, time left."""

import sys
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

COUNTS = ("rows", "tokens", "length", "reference_length", "words", "reference_words")  # that tell of no progress


class TrainingProgress(ProgressBar):
    """A tqdm bar over optimizer steps on a terminal; a line at each validation everywhere."""

    def __init__(self, refresh: float = 0.5) -> None:
        super().__init__()
        self.refresh = refresh
        self.bar: tqdm | None = None
        self.evaluation: tqdm | None = None

    def disable(self) -> None:
        """Ranks above 0 draw nothing."""
        self.refresh = float("inf")

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self.bar = self.new_bar("training", int(trainer.estimated_stepping_batches))
            self.bar.update(trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        if self.bar is not None and trainer.global_step > self.bar.n:
            self.bar.set_postfix(self.shown(trainer), refresh=False)
            self.bar.update(trainer.global_step - self.bar.n)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.bar is None or trainer.sanity_checking:
            return
        told = [f"epoch {trainer.current_epoch + 1}", f"step {trainer.global_step}"]
        for name, value in trainer.callback_metrics.items():
            if name.startswith("val/") and name.removeprefix("val/") not in COUNTS and not name.endswith("_rows"):
                told.append(f"{name} {float(value):.4f}")
        speed = trainer.callback_metrics.get("throughput/tokens_per_second")
        if speed is not None:
            told.append(f"{float(speed):,.0f} tokens/s")
        tqdm.write("  ".join(told), file=sys.stdout)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, module)

    def on_test_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self.evaluation = self.new_bar("testing", int(sum(trainer.num_test_batches)), leave=False)

    def on_test_batch_end(self, *_: Any) -> None:
        if self.evaluation is not None:
            self.evaluation.update()

    def on_test_end(self, *_: Any) -> None:
        if self.evaluation is not None:
            self.evaluation.close()
            self.evaluation = None

    def new_bar(self, name: str, total: int, leave: bool = True) -> tqdm:
        hidden = not sys.stderr.isatty()
        return tqdm(desc=name, total=total, leave=leave, disable=hidden, mininterval=self.refresh, unit="step")

    def shown(self, trainer: pl.Trainer) -> dict[str, str]:
        metrics = trainer.callback_metrics
        values = {}
        if "train/loss" in metrics:
            values["loss"] = f"{float(metrics['train/loss']):.4f}"
        if "throughput/tokens_per_second" in metrics:
            values["tokens/s"] = f"{float(metrics['throughput/tokens_per_second']):,.0f}"
        if "throughput/mfu" in metrics:
            values["MFU"] = f"{float(metrics['throughput/mfu']):.0%}"
        return values

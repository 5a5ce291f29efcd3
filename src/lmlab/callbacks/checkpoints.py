"""When a training is saved, what it takes to go on from there, and which checkpoints are kept."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loops.loop import _Loop

from lmlab.callbacks.final import refuse_unmeasured
from lmlab.errors import NotANumber
from lmlab.names import VALIDATED
from lmlab.ranges import NonNegativeInt, PositiveFloat, PositiveInt

LOWER = "The last checkpoint is from before it; lower optimizer.lr"


class Checkpoints(Checkpoint):
    """Saves after each validation, every few minutes between, and when asked; always between two optimizer steps.

    Files are called by the step they were saved at, so no name is used twice; best.ckpt and last.ckpt point to them.
    Where training stands follows from the number of steps alone (`progress_at`): Lightning's own loop state, which
    replays a batch or skips a validation in places, is not used.
    """

    def __init__(
        self,
        folder: str,
        monitor: str,
        mode: Literal["min", "max"],
        *,
        keep_best: NonNegativeInt = 1,
        keep_last: PositiveInt = 2,
        keep_validated: NonNegativeInt = 0,
        every_minutes: PositiveFloat | None = 5.0,
        every_n_steps: PositiveInt | None = None,
    ) -> None:
        self.folder, self.monitor, self.mode = Path(folder), monitor, mode
        self.config: Mapping[str, Any] = {}  # the resolved config, in plain types; whoever has it sets it
        self.keep_best, self.keep_last, self.keep_validated = keep_best, keep_last, keep_validated
        self.every_minutes, self.every_n_steps = every_minutes, every_n_steps
        self.scores: dict[str, float] = {}  # file name -> monitored value, of those kept as the best
        self.kept: list[str] = []  # all files, in the order they were saved
        self.validation_due = False
        self.weights: Mapping[str, torch.Tensor] = {}  # of the checkpoint saved last
        self.saved_at = time.monotonic()

    @property
    def best(self) -> Path | None:
        """The checkpoint with the best score so far; ties go to the earlier."""
        sign = 1 if self.mode == "max" else -1
        best = max(self.scores, key=lambda name: (sign * self.scores[name], -self.kept.index(name)), default=None)
        return self.folder / best if best else None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        loop, done = trainer.fit_loop, trainer.global_step
        self.saved_at = time.monotonic()
        if self.best and trainer.is_global_zero:  # a pointer may be missing, or be from after the resumed step
            files: Any = trainer.strategy.checkpoint_io
            files.point(self.folder / "best.ckpt", self.best)
        if not loop.epoch_loop.batch_progress.current.ready:
            _Loop.restarting.fset(loop, False)  # type: ignore[attr-defined]  # an epoch's start restarts nothing
        if self.validation_due:
            at_edge = not loop.epoch_loop.batch_progress.current.ready
            epochs: Any = loop.epoch_progress.current
            epochs.processed -= at_edge  # its validation belongs to the epoch before
            loop.epoch_loop._batches_that_stepped = done - 1
            loop.epoch_loop.val_loop.restarting = False
            trainer.validating = True
            loop.epoch_loop.val_loop.run()
            trainer.training = True
            epochs.processed += at_edge
            loop.epoch_loop._batches_that_stepped = done - (not at_edge)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        loop = trainer.fit_loop.epoch_loop
        if not loop._should_accumulate():
            self.validation_due = loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        """Between two steps: when a batch ends, its loss is not logged yet."""
        if index % trainer.accumulate_grad_batches or not trainer.global_step:
            return
        by_steps = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        late = self.every_minutes is not None and time.monotonic() - self.saved_at > 60 * self.every_minutes
        if by_steps or trainer.strategy.reduce_boolean_decision(late, all=False):
            self.save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self.validation_due = False
        refuse_unmeasured(trainer, self.monitor, "callbacks.checkpoint.monitor")
        self.save(trainer, trainer.callback_metrics[self.monitor])

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.save(trainer)
        if self.best is None and trainer.is_global_zero:  # it was never validated
            files: Any = trainer.strategy.checkpoint_io
            files.point(self.folder / "best.ckpt", self.folder / self.kept[-1])
        trainer.strategy.barrier()

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not self.kept:  # trainer.max_epochs=0: the weights that it began with
            self.on_train_end(trainer, module)

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":  # a resumed training that was at its end already has not counted its last step
            trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def save(self, trainer: pl.Trainer, score: torch.Tensor | None = None) -> None:
        """Write a checkpoint, if this step has none yet; called by all ranks between two optimizer steps."""
        name = self.name(trainer, validated=score is not None)
        if {name, self.name(trainer, validated=True)} & {*self.kept}:
            return
        if not finite(trainer.lightning_module):
            raise NotANumber(f"a weight is infinite or no number after step {trainer.global_step}", "training", LOWER)
        self.saved_at = time.monotonic()
        self.kept.append(name)
        if score is not None:
            self.scores[name] = float(score)
        for logger in trainer.loggers:  # what was logged must not be older than what was learned
            logger.save()
        trainer.save_checkpoint(self.folder / name)
        files: Any = trainer.strategy.checkpoint_io
        dropped = self.drop()
        if trainer.is_global_zero:
            files.point(self.folder / "last.ckpt", self.folder / name)
            if self.best == self.folder / name:
                files.point(self.folder / "best.ckpt", self.best)
                files.save_weights(self.weights, self.folder / "best.safetensors")
            for old in dropped:
                files.remove_checkpoint(self.folder / old)

    def drop(self) -> list[str]:
        """Forget, and name, the checkpoints that are neither among the last (of all or of the validated) nor among the
        best."""
        ordered = sorted(self.scores, key=lambda name: self.scores[name], reverse=self.mode == "max")
        validated = [name for name in reversed(self.kept) if name.endswith(f"{VALIDATED}.ckpt")]
        keep = {*self.kept[-self.keep_last :], *ordered[: self.keep_best], *validated[: self.keep_validated]}
        dropped = [name for name in self.kept if name not in keep]
        self.kept = [name for name in self.kept if name in keep]
        self.scores = {name: self.scores[name] for name in self.kept if name in self.scores}
        return dropped

    def name(self, trainer: pl.Trainer, validated: bool = False) -> str:
        return f"step-{trainer.global_step:08d}{VALIDATED if validated else ''}.ckpt"

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.weights = checkpoint["state_dict"]  # not always the module's own: see ema.py
        checkpoint["config"] = dict(self.config)
        checkpoint["facts"] = {
            "step": trainer.global_step,
            "validation_due": self.validation_due,
            "scores": dict(self.scores),
            "kept": list(self.kept),
        }

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != "fit":
            return
        facts, position = checkpoint["facts"], checkpoint[type(trainer.datamodule).__qualname__]  # type: ignore[attr-defined]
        self.validation_due = facts["validation_due"]
        self.kept = [name for name in facts["kept"] if (self.folder / name).exists()]
        self.scores = {name: score for name, score in facts["scores"].items() if name in self.kept}
        micro = position["batch"] * trainer.accumulate_grad_batches
        checkpoint["loops"]["fit_loop"] = progress_at(trainer, position["epoch"], micro, facts["step"])


def finite(module: torch.nn.Module) -> bool:
    return all(bool(parameter.isfinite().all()) for parameter in module.parameters())


def progress_at(trainer: pl.Trainer, epoch: int, micro: int, step: int) -> dict[str, Any]:
    """The state of Lightning's fit loop when `micro` batches of `epoch` are done, after `step` optimizer steps.

    Inside an epoch it has the form that Lightning gives it at the end of a training batch, which restarts well; at an
    epoch's edge all counters are even, and the loop is told not to restart (`Checkpoints.on_train_start`).
    """
    state = trainer.fit_loop.state_dict()
    inside = int(micro > 0)
    epochs = {"ready": epoch + inside, "started": epoch + inside, "processed": epoch, "completed": epoch}
    batches = {"ready": micro, "started": micro, "processed": micro, "completed": micro - inside}
    steps = {"ready": step, "completed": step}
    state["epoch_progress"] |= {"total": epochs, "current": dict(epochs)}
    state["epoch_loop.batch_progress"] |= {"total": batches, "current": dict(batches), "is_last_batch": False}
    state["epoch_loop.state_dict"] = {"_batches_that_stepped": step - inside}
    optimizer = state["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    optimizer["step"] = {"total": steps, "current": dict(steps)}
    return state

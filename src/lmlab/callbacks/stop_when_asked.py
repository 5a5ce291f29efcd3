"""A training that is asked to stop finishes its step, saves, and ends on all ranks together."""

import contextlib
import signal
import time
from datetime import timedelta
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from lmlab import signals
from lmlab.errors import Stopped

TIME_IS_UP = 65  # beside the numbers of signals, which end at 64


class StopWhenAsked(Callback):
    """Obeys SIGTERM, SIGUSR1, SIGUSR2 and Ctrl-C, whichever rank gets them, and `max_time` ("DD:HH:MM:SS").

    A handler only notes the signal; before each optimizer step, and between batches of a validation, the ranks agree
    on what any of them has noted. Lightning's own handlers deadlock under DDP and end with exit code 0.
    """

    def __init__(self, max_time: str | None = None) -> None:
        self.seconds = None if max_time is None else seconds(max_time)
        self.started = time.monotonic()
        self.listening = contextlib.ExitStack()

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.listening.enter_context(signals.noted())

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        if index % trainer.accumulate_grad_batches == 0:
            self.obey(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.state.fn == "fit":
            self.obey(trainer)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.obey(trainer)
        self.listening.close()

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        self.listening.close()  # a resumed training that was at its end already begins and ends without hooks

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        self.listening.close()

    def obey(self, trainer: pl.Trainer) -> None:
        """Save and raise Stopped if any rank has been asked to stop."""
        mine = signals.asked[0] if signals.asked else 0
        if self.seconds is not None and time.monotonic() - self.started > self.seconds:
            mine = mine or TIME_IS_UP
        agreed = trainer.strategy.reduce(torch.tensor(mine, device=trainer.strategy.root_device), reduce_op="max")
        number = int(agreed)
        if not number:
            return
        checkpoints: Any = trainer.checkpoint_callback
        if checkpoints is not None:
            checkpoints.save(trainer)
        trainer.strategy.barrier()
        raise Stopped("trainer.max_time" if number == TIME_IS_UP else signal.Signals(number).name, resumable=True)


def seconds(max_time: str) -> float:
    days, hours, minutes, rest = map(int, max_time.split(":"))
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=rest).total_seconds()

"""Tokens, rows and floating-point operations a second, over all ranks, the time of evaluation left out."""

import contextlib
import sys
import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lmlab import flops
from lmlab.ranges import PositiveInt

NEAR = 1.1  # lengths that differ by less share their operations a token


class Throughput(Callback):
    """Logs throughput/{tokens,rows,flops}_per_second of the training so far, and throughput/mfu: the operations as a
    share of those that multiplying matrices reaches here (model FLOPs utilization: Chowdhery et al., 2022, appendix B).

    Padding is no token, but its operations are done and counted. The first batch of about its length has them counted
    while it is trained on (`flops.Counter`), which changes none of its numbers; others do as many a token.
    """

    def __init__(self, every: PositiveInt = 10) -> None:
        self.every = every  # batches between two measurements
        self.seconds, self.rows, self.tokens, self.flops = 0.0, 0, 0, 0.0
        self.since: float | None = None
        self.new: list[Tensor] = []  # token counts, left on the device until they are needed
        self.rate = 0.0  # FLOP/s of the devices of all ranks together
        self.per_token: dict[int, float] = {}  # operations, padding's too, by the length of the rows
        self.counter: flops.Counter | None = None
        self.counting = contextlib.ExitStack()
        self.counted = torch.Size()  # rows and length of the batch at hand

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.strategy.barrier()  # processes that share a machine share its rate
        device = trainer.strategy.root_device
        rate = torch.tensor(flops.matmul_rate(device, trainer.precision), device=device)
        self.rate = float(trainer.strategy.reduce(rate, reduce_op="sum"))

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Mapping[str, Tensor], index: int
    ) -> None:
        self.since = self.since or time.perf_counter()
        length = batch["mask"].shape[1]
        if not any(1 / NEAR < length / known < NEAR for known in self.per_token):
            self.counted, self.counter = batch["mask"].shape, flops.Counter()
            if "torch._dynamo" in sys.modules:  # a graph made while operations are counted would be given up for good
                self.counting.enter_context(torch.compiler.set_stance("force_eager"))
            self.counting.enter_context(self.counter)

    def on_after_backward(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.stop_counting()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        self.stop_counting()

    def stop_counting(self) -> None:
        if self.counter is not None:
            self.counting.close()
            self.per_token[self.counted[1]] = self.counter.get_total_flops() / self.counted.numel()
            self.counter = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Mapping[str, Tensor], index: int
    ) -> None:
        self.stop_counting()  # where there was nothing to go back through
        n_rows, length = batch["mask"].shape
        nearest = min(self.per_token, key=lambda known: abs(known - length))
        self.flops += n_rows * length * self.per_token[nearest]
        self.new.append(module.task.n_tokens(batch))  # type: ignore[union-attr]
        self.rows += n_rows
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
            f"throughput/{name}_per_second": done * trainer.world_size / self.seconds
            for name, done in (("tokens", self.tokens), ("rows", self.rows), ("flops", self.flops))
        }
        per_second["throughput/mfu"] = per_second["throughput/flops_per_second"] / self.rate
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in per_second.items()})
        for logger in trainer.loggers:
            logger.log_metrics(per_second, step=trainer.global_step)

"""An exponential moving average of the weights: what is validated, kept as the best and tested."""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lmlab.ranges import Fraction

TRAINED = "trained_weights"  # in a checkpoint, whose state_dict holds the averaged ones


class EMA(Callback):
    """Weights averaged over the steps (Polyak and Juditsky, 1992), the old ones fading by `decay` a step.

    After step t the decay is at most (1 + t) / (10 + t), as in TensorFlow's ExponentialMovingAverage: the first
    weights of a short training fade too. Lightning's WeightAveraging averages buffers, which here are counts and keys
    of 63 bits, and a checkpoint that it saves within a validation has the two sets of weights exchanged.
    """

    def __init__(self, decay: Fraction | None = None) -> None:
        self.decay = decay  # None: nothing is averaged
        self.aside: list[Tensor] = []  # of each parameter what the module does not hold: its average, or as trained
        self.evaluating = False
        self.step = 0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.step = trainer.global_step
        if self.decay is not None:
            kept = self.aside or module.parameters()
            self.aside = [tensor.detach().to(module.device, copy=True) for tensor in kept]

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        if self.decay is not None and trainer.global_step > self.step:
            self.step = trainer.global_step
            decay = min(self.decay, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.aside, list(module.parameters()), 1 - decay)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit" and self.aside:
            self.exchange(module)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.evaluating:
            self.exchange(module)

    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.aside:
            self.exchange(module)
            self.aside, self.evaluating = [], False

    @torch.no_grad()
    def exchange(self, module: pl.LightningModule) -> None:
        """In place: optimizers, processes and compiled graphs know the parameters by their memory."""
        for parameter, other in zip(module.parameters(), self.aside, strict=True):
            held = parameter.clone()
            parameter.copy_(other)
            other.copy_(held)
        self.evaluating = not self.evaluating

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        if not self.aside:
            return
        aside = {id(p): other for p, other in zip(module.parameters(), self.aside, strict=True)}
        names = dict(module.named_parameters(remove_duplicate=False))  # a tied one has two
        exchanged = {name: aside[id(parameter)] for name, parameter in names.items()}
        held, other = checkpoint["state_dict"], checkpoint["state_dict"] | exchanged
        checkpoint["state_dict"], trained = (held, other) if self.evaluating else (other, held)
        checkpoint[TRAINED] = {name: trained[name] for name in names}

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit" and TRAINED in checkpoint:
            if self.decay is not None:
                self.aside = [parameter.detach().clone() for parameter in module.parameters()]
            module.load_state_dict(checkpoint[TRAINED], strict=False)

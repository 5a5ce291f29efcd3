"""How a variational autoencoder of texts is trained (Bowman et al., 2016): its code is asked to be cheap little by
little, or the decoder learns to do without it."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from lmlab.models.autoencoder import Autoencoder
from lmlab.module import LanguageModule
from lmlab.ranges import PositiveInt, Share
from lmlab.tasks.autoencoding import Autoencoding
from lmlab.tasks.task import Task

Annealing = Literal["constant", "linear", "sigmoid", "cyclical"]


class VariationalModule(LanguageModule):
    """The weight of the KL divergence in the training loss rises with the steps: once, in the first `rise` of them, or
    in each of `cycles` (Fu et al., 2019). It depends on the number of the step alone."""

    def __init__(
        self,
        network: Autoencoder,
        task: Task,
        *,
        annealing: Annealing = "linear",
        rise: Share = 0.5,
        cycles: PositiveInt = 4,
        **parts: Any,
    ) -> None:
        super().__init__(network, task, **parts)
        self.annealing: Annealing = annealing
        self.rise, self.cycles = rise, cycles

    def on_train_batch_start(self, batch: Mapping[str, Tensor], index: int) -> None:
        super().on_train_batch_start(batch, index)
        if isinstance(self.task, Autoencoding):
            done = self.trainer.global_step / max(1, self.total_steps)
            self.task.annealed = annealed(done, self.annealing, self.rise, self.cycles)

    def log_step(self, values: dict[str, Tensor]) -> None:
        if isinstance(self.task, Autoencoding):
            values = values | {"train/kl_weight": torch.tensor(self.task.annealed * self.task.kl_weight)}
        super().log_step(values)


def annealed(done: float, annealing: Annealing, rise: float, cycles: int = 1) -> float:
    """The share of its weight that the KL divergence has when a share `done` of all steps is."""
    if annealing == "constant":
        return 1.0
    if annealing == "cyclical":
        done = done * cycles % 1
    risen = done / rise
    if annealing == "sigmoid":
        return 1 / (1 + math.exp(-12 * (min(risen, 2.0) - 0.5)))  # from 0.002 by 1/2 to 0.998
    return min(1.0, risen)

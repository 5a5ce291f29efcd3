"""How many units of a code say something of a text."""

import torch
from torch import Tensor
from torchmetrics import Metric

LEAST = 0.01  # of the variance of a unit that says something


class ActiveUnits(Metric):
    """The units whose mean, given a text, varies from text to text by more than 0.01 (Burda et al., 2016, section 5.1),
    over the texts of all ranks. The units are counted when the first codes come."""

    full_state_update = False
    n: Tensor
    total: Tensor
    squares: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.set_dtype(torch.float64)
        for name in ("n", "total", "squares"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, mean: Tensor) -> None:
        """Means (B, Z) of the codes of texts."""
        mean = mean.double()
        self.n = self.n + len(mean)
        self.total = self.total + mean.sum(0)
        self.squares = self.squares + mean.square().sum(0)

    def compute(self) -> Tensor:
        n = self.n.clamp(min=1)
        return ((self.squares / n - (self.total / n).square()) > LEAST).sum()

"""How predictions and truth go together: Matthews' phi of classes, Pearson's and Spearman's r of numbers."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix
from torchmetrics.utilities import dim_zero_cat


class Matthews(MulticlassConfusionMatrix):
    """The correlation of two classifications (Matthews, 1975; for more than two classes Gorodkin, 2004).

    0 where all labels or all predictions are of one class, as scikit-learn has it; torchmetrics' own is not.
    """

    def compute(self) -> Tensor:
        counts = self.confmat.double()
        n, right, true, predicted = counts.sum(), counts.trace(), counts.sum(1), counts.sum(0)
        spread = (n**2 - true @ true) * (n**2 - predicted @ predicted)
        return torch.where(spread > 0, (n * right - true @ predicted) / spread.clamp(min=1).sqrt(), 0.0)


class Correlations(Metric):
    """Pearson's and Spearman's r over all rows of all ranks, as scipy has them; 0 where either side is constant.

    Ranks need all numbers at once, so both sides are kept, 16 bytes a row, and told; so is the mean squared error.
    """

    full_state_update = False
    estimates: list[Tensor]
    scores: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.set_dtype(torch.float64)
        self.add_state("estimates", [], dist_reduce_fx="cat")
        self.add_state("scores", [], dist_reduce_fx="cat")

    def update(self, estimates: Tensor, scores: Tensor) -> None:
        self.estimates.append(estimates.double())
        self.scores.append(scores.double())

    def compute(self) -> dict[str, Tensor]:
        estimates, scores = dim_zero_cat(self.estimates), dim_zero_cat(self.scores)
        return {
            "loss": (estimates - scores).square().mean(),
            "pearson": pearson(estimates, scores),
            "spearman": pearson(ranks(estimates), ranks(scores)),
            "rows": torch.tensor(len(scores), device=scores.device),
            "estimates": estimates,
            "scores": scores,
        }


def pearson(x: Float[Tensor, "N"], y: Float[Tensor, "N"]) -> Float[Tensor, ""]:
    if x.min() == x.max() or y.min() == y.max():
        return x.new_zeros(())
    x, y = x - x.mean(), y - y.mean()
    return (x / x.norm()) @ (y / y.norm())


def ranks(values: Shaped[Tensor, "N"]) -> Float[Tensor, "N"]:
    """1 for the least, 2 for the next, ...; equal values share the mean of their ranks."""
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    return (count.cumsum(0) - (count - 1) / 2)[place].double()

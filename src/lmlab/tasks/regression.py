"""A number on a scale for a text, or for a pair of texts."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lmlab.errors import ConfigError
from lmlab.evaluation.correlation import Correlations
from lmlab.nn.network import Network
from lmlab.ranges import Fraction, PositiveInt
from lmlab.tasks.linear_head import linear_head, pooled
from lmlab.tasks.task import Task


class Regression(Task):
    """A linear layer on the pooled states, trained by squared error.

    Its output is read on the scale of the scores, of which `span` names the ends: 0 is the middle, 1 the upper end.
    """

    def __init__(
        self,
        d_model: PositiveInt,
        *,
        span: Sequence[float | int] = (-1.0, 1.0),
        head: Literal["linear", "plain", "none"] = "linear",
        dropout: Fraction = 0.1,
        metrics: Sequence[Literal["spearman", "pearson"]] = ("spearman", "pearson"),
    ) -> None:
        super().__init__()
        self.measured = tuple(metrics)
        if len(span) != 2 or span[0] >= span[1]:
            raise ConfigError(
                f"task.span: a lower and an upper end expected, got {list(span)}", fix="Write [low, high]"
            )
        low, high = span
        self.middle, self.reach = (low + high) / 2, (high - low) / 2
        self.head = linear_head(d_model, 1, dropout, normed=head == "linear")
        self.correlations = nn.ModuleDict({stage: Correlations() for stage in ("val", "test")})

    def forward(self, network: Network, batch: Mapping[str, Tensor]) -> Float[Tensor, "B"]:
        """Estimates of the scores."""
        return self.middle + self.reach * self.head(pooled(network, batch)).squeeze(-1).float()

    def loss(self, network: Network, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        estimates = self(network, batch)
        loss = F.mse_loss(estimates, batch["score"], reduction="sum")
        return loss, torch.tensor(len(estimates), device=loss.device)

    def score(self, network: Network, batch: Mapping[str, Tensor], stage: str) -> dict[str, Tensor]:
        estimates = self(network, batch)
        self.correlations[stage].update(estimates, batch["score"])
        return {"rows": batch["rows"], "score": batch["score"], "estimate": estimates}

    def results(self, stage: str) -> dict[str, float]:
        told = self.correlations[stage].compute()
        return {name: told[name].item() for name in ("loss", *self.measured, "rows")}

    def tables(self, stage: str) -> dict[str, Any]:
        told = self.correlations[stage].compute()
        return {"estimates": {name: told[name].tolist() for name in ("scores", "estimates")}}

    def reset(self, stage: str) -> None:
        self.correlations[stage].reset()

    def predict(self, network: Network, batch: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        return [{"score": estimate} for estimate in self(network, batch).tolist()]

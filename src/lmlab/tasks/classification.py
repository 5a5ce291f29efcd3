"""Which of n classes a text, or a pair of texts, belongs to."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection, SumMetric
from torchmetrics.classification import (
    BinaryF1Score,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)

from lmlab.errors import ConfigError
from lmlab.evaluation.correlation import Matthews
from lmlab.nn.network import Network
from lmlab.ranges import Fraction, PositiveFloat, PositiveInt
from lmlab.tasks.linear_head import linear_head, pooled
from lmlab.tasks.task import Task

MEASURES: dict[str, Callable[[int], Metric]] = {  # of the number of classes
    "accuracy": lambda n: MulticlassAccuracy(n, average="micro"),
    "f1": lambda n: MulticlassF1Score(n, average="macro"),
    "binary_f1": lambda n: BinaryF1Score(),
    "matthews": Matthews,
}


class Classification(Task):
    """A linear layer on the pooled states, trained by cross-entropy (labels smoothed: Szegedy et al., 2016).

    The states are normed before, but with a `plain` head, as BERT was published.
    """

    def __init__(
        self,
        d_model: PositiveInt,
        classes: Sequence[str],
        *,
        head: Literal["linear", "plain", "none"] = "linear",
        dropout: Fraction = 0.1,
        label_smoothing: Fraction = 0.0,
        metrics: Sequence[Literal["accuracy", "f1", "binary_f1", "matthews"]] = ("accuracy", "f1"),
        class_weights: Sequence[PositiveFloat] | Literal["balanced"] | None = None,
    ) -> None:
        super().__init__()
        self.weights: Tensor | None
        if "binary_f1" in metrics and len(classes) != 2:
            fix = "f1 is the mean over classes"
            raise ConfigError(f"task.metrics: binary_f1 is of two classes, and there are {len(classes)}", fix=fix)
        if class_weights == "balanced":
            raise ConfigError("task.class_weights: nobody has counted the classes", fix="Give a number for each")
        if class_weights is not None and len(class_weights) != len(classes):
            what = f"task.class_weights: {len(classes)} numbers expected, got {len(class_weights)}"
            raise ConfigError(what, fix=f"Give one for each of {', '.join(classes)}")
        self.classes, self.label_smoothing = tuple(classes), label_smoothing
        self.head: nn.Module = nn.Identity()  # of a family whose pooled states are ln p(text, class)
        if head != "none":
            self.head = linear_head(d_model, len(self.classes), dropout, normed=head == "linear")
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("weights", None if weights is None else weights / weights.mean(), persistent=False)
        self.measured = tuple(metrics)
        counted: dict[str, Metric | MetricCollection] = {name: MEASURES[name](len(classes)) for name in metrics}
        counted["confusion"] = MulticlassConfusionMatrix(len(classes))
        self.metrics = nn.ModuleDict({stage: MetricCollection(counted).clone() for stage in ("val", "test")})
        self.losses = nn.ModuleDict({stage: SumMetric() for stage in ("val", "test")})

    def forward(self, network: Network, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, n_classes)."""
        return self.head(pooled(network, batch))

    def loss(self, network: Network, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        logits, label = self(network, batch).float(), batch["label"]
        options: dict[str, Any] = {"weight": self.weights, "label_smoothing": self.label_smoothing}
        total = F.cross_entropy(logits, label, reduction="sum", **options)
        if self.weights is not None:  # a row counts for as much as it weighs
            return total, self.weights[label].sum()
        return total, torch.tensor(len(logits), device=logits.device)

    def score(self, network: Network, batch: Mapping[str, Tensor], stage: str) -> dict[str, Tensor]:
        logits, label = self(network, batch).float(), batch["label"]
        self.losses[stage].update(F.cross_entropy(logits, label, reduction="sum"))
        probability, predicted = logits.softmax(-1).max(-1)
        self.metrics[stage].update(predicted, label)
        return {"rows": batch["rows"], "label": label, "predicted": predicted, "probability": probability}

    def results(self, stage: str) -> dict[str, float]:
        measured = self.metrics[stage].compute()
        n_rows = measured["confusion"].sum().item()
        return {
            "loss": self.losses[stage].compute().item() / max(n_rows, 1),
            **{name: measured[name].item() for name in self.measured},
            "rows": n_rows,
        }

    def tables(self, stage: str) -> dict[str, Any]:
        confusion = self.metrics[stage].compute()["confusion"]
        return {"confusion_matrix": {"classes": list(self.classes), "counts": confusion.tolist()}}

    def reset(self, stage: str) -> None:
        self.metrics[stage].reset()
        self.losses[stage].reset()

    def predict(self, network: Network, batch: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        probabilities = self(network, batch).float().softmax(-1)
        return [
            {"label": self.classes[row.argmax()], **dict(zip(self.classes, row.tolist(), strict=True))}
            for row in probabilities.cpu()
        ]

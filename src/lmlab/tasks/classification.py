"""Which of n classes a text, or a pair of texts, belongs to."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection, SumMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassF1Score

from lmlab.nn.network import Network
from lmlab.nn.noise import Dropout
from lmlab.ranges import Fraction, PositiveInt
from lmlab.tasks.task import Task


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
    ) -> None:
        super().__init__()
        self.classes, self.label_smoothing = tuple(classes), label_smoothing
        self.head: nn.Module = nn.Identity()  # of a family whose pooled states are ln p(text, class)
        if head != "none":
            linear = Dropout(dropout), nn.Linear(d_model, len(self.classes))
            self.head = nn.Sequential(*linear) if head == "plain" else nn.Sequential(nn.LayerNorm(d_model), *linear)
        counted: dict[str, Metric | MetricCollection] = {
            "accuracy": MulticlassAccuracy(len(classes), average="micro"),
            "f1": MulticlassF1Score(len(classes), average="macro"),
            "confusion": MulticlassConfusionMatrix(len(classes)),
        }
        self.metrics = nn.ModuleDict({stage: MetricCollection(counted).clone() for stage in ("val", "test")})
        self.losses = nn.ModuleDict({stage: SumMetric() for stage in ("val", "test")})

    def forward(self, network: Network, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, n_classes)."""
        states = network.encode(batch["tokens"], batch["mask"], batch.get("segments"))  # (B, T, D)
        return self.head(network.pool(states, batch["mask"]))

    def loss(self, network: Network, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        logits = self(network, batch).float()
        total = F.cross_entropy(logits, batch["label"], reduction="sum", label_smoothing=self.label_smoothing)
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
            "accuracy": measured["accuracy"].item(),
            "f1": measured["f1"].item(),
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

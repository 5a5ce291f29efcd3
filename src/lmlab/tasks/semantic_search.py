"""Vectors of texts that lie near each other where one answers the other, or means the same."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torchmetrics import Metric, SumMetric

from lmlab.errors import ConfigError
from lmlab.evaluation import retrieval
from lmlab.evaluation.correlation import Correlations
from lmlab.nn.gathering import gathered
from lmlab.nn.network import Network
from lmlab.nn.noise import redrawn
from lmlab.nn.pooling import first_state, last_states, mean_state
from lmlab.ranges import PositiveFloat, PositiveInt
from lmlab.tasks.task import Task

SIDES = ("tokens", "mask"), ("positive", "positive_mask"), ("negative", "negative_mask")
POOLING: dict[str, Callable[..., Tensor]] = {"mean": mean_state, "first": first_state, "last": last_states}
SCORED = ("spearman", "pearson")  # metrics of pairs, and of queries that find documents
RANKED = ("ndcg_10", "recall_1", "recall_5", "recall_10", "mrr_10")
Found = Literal["ndcg_10", "recall_1", "recall_5", "recall_10", "mrr_10", "spearman", "pearson"]


class SemanticSearch(Task):
    """One vector for each text, compared by the cosine (Reimers and Gurevych, 2019). What is learned:

    - `contrastive`: which document of the batch belongs to a query, by a softmax over cosines / temperature (InfoNCE:
      van den Oord et al., 2018; multiple negatives: Henderson et al., 2017);
    - `triplet`: that it is nearer by a margin than the nearest other one (Hermans et al., 2017, equation 5);
    - `cosine`: a score between two texts, by squared error, its `span` read as 0 to 1.

    The documents of all processes, and those that the corpus says are no answers, are in the batch; a text that stands
    in two rows is no wrong answer to itself. `matryoshka` asks the same of prefixes of the vectors (Kusupati et al.,
    2022). In an evaluation the batch is the whole split.
    """

    def __init__(
        self,
        *,
        objective: Literal["contrastive", "triplet", "cosine"] = "contrastive",
        temperature: PositiveFloat = 0.05,
        margin: PositiveFloat = 0.2,
        pooling: Literal["mean", "first", "last"] | None = "mean",
        matryoshka: Sequence[PositiveInt] = (),
        span: Sequence[float | int] = (0.0, 1.0),
        metrics: Sequence[Found] = ("ndcg_10", "recall_1", "recall_5", "recall_10", "mrr_10"),
    ) -> None:
        super().__init__()
        if len(span) != 2 or span[0] >= span[1]:
            what = f"task.span: a lower and an upper end expected, got {list(span)}"
            raise ConfigError(what, fix="Write [low, high]")
        scored = objective == "cosine"
        if wrong := [name for name in metrics if (name in SCORED) != scored]:
            what = f"task.metrics: {wrong[0]} is not what task.objective={objective} is judged by"
            fix = f"Choose of {', '.join(SCORED if scored else RANKED)}, with data.metrics= or task.metrics="
            raise ConfigError(what, fix=fix)
        self.objective, self.temperature, self.margin = objective, temperature, margin
        self.pooling, self.span, self.measured = pooling, tuple(span), tuple(metrics)
        self.widths = (*sorted(matryoshka), None)  # how many numbers of a vector are compared; None: all
        found: dict[str, Metric] = {"vectors": retrieval.Vectors()}
        if scored:
            found = {str(width): Correlations() for width in self.widths}
        self.found = nn.ModuleDict({stage: nn.ModuleDict(copy.deepcopy(found)) for stage in ("val", "test")})
        self.rows = nn.ModuleDict({stage: SumMetric() for stage in ("val", "test")})

    def forward(self, network: Network, batch: Mapping[str, Tensor]) -> Float[Tensor, "B D"]:
        """A vector of length 1 for each of the first texts."""
        return F.normalize(self.vector(network, batch["tokens"], batch["mask"]), dim=1)

    def vector(self, network: Network, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        if self.pooling is None:  # the family's own
            found = network.vector(tokens, mask)
        else:
            found = POOLING[self.pooling](network.encode(tokens, mask), mask)
        if len(self.widths) > 1 and self.widths[-2] >= found.shape[1]:
            what = f"task.matryoshka: {self.widths[-2]} is no prefix of the {found.shape[1]} numbers of a vector"
            raise ConfigError(what, fix="Give smaller ones")
        return found.float()

    def sides(self, network: Network, batch: Mapping[str, Tensor]) -> list[Float[Tensor, "B D"]]:
        """The vectors of the queries, of their documents and, where a corpus has them, of documents that are not."""
        found = []
        for number, (tokens, mask) in enumerate(names for names in SIDES if names[0] in batch):
            with redrawn(network, number):
                found.append(self.vector(network, batch[tokens], batch[mask]))
        return found

    def n_tokens(self, batch: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([batch[mask].sum() for _, mask in SIDES if mask in batch]).sum()

    def loss(self, network: Network, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        sides = self.sides(network, batch)
        with torch.autocast(sides[0].device.type, enabled=False):  # cosines / temperature need their digits
            if self.objective == "cosine":
                target = self.target(batch)
                losses = [(cosine(sides[0], sides[1], width) - target).square().sum() for width in self.widths]
            else:
                losses = self.losses_among_all(sides, batch["contents"])
        return torch.stack(losses).mean(), torch.tensor(len(sides[0]), device=sides[0].device)

    def losses_among_all(
        self, sides: Sequence[Float[Tensor, "B D"]], contents: Int[Tensor, "B S"]
    ) -> list[Float[Tensor, ""]]:
        """The sum over own queries, for each width, of what it costs to find their documents among those of all."""
        queries, (positives, first), all_contents = sides[0], gathered(sides[1]), gathered(contents)[0]
        documents = torch.cat([positives, *(gathered(side)[0] for side in sides[2:])])
        numbers, asked = all_contents[:, 1:].T.flatten(), all_contents[:, 0]  # of documents; of their rows' queries
        asked = torch.cat((asked, asked.new_full((len(numbers) - len(asked),), -1)))
        own, told = first + torch.arange(len(queries), device=queries.device), contents.unsqueeze(2)
        # no wrong answers: the query, the answer in another row, and what answers the same query there
        other = (numbers != told[:, 0]) & (numbers != told[:, 1]) & (asked != told[:, 0])
        cut = [[F.normalize(some[:, :width], dim=1) for some in (queries, documents)] for width in self.widths]
        return [self.costs(one @ others.T, own, other).sum() for one, others in cut]

    def costs(
        self, cosines: Float[Tensor, "B M"], own: Int[Tensor, "B"], other: Bool[Tensor, "B M"]
    ) -> Float[Tensor, "B"]:
        """What it costs each query to find its `own` document among these and the `other` ones."""
        if self.objective == "triplet":
            nearest = cosines.masked_fill(~other, -torch.inf).amax(1)
            return (self.margin + nearest - cosines.gather(1, own[:, None]).squeeze(1)).clamp(min=0)
        left_out = ~other.scatter(1, own[:, None], True)
        return F.cross_entropy((cosines / self.temperature).masked_fill(left_out, -torch.inf), own, reduction="none")

    def target(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "B"]:
        """Scores, from 0 to 1 between the ends of their span."""
        if "score" not in batch:
            fix = "Give data.label_column=, or choose task.objective=contrastive task.metrics=[ndcg_10]"
            raise ConfigError("pairs without scores cannot be learned or judged by them", "task.objective", fix)
        low, high = self.span
        return (batch["score"] - low) / (high - low)

    def score(self, network: Network, batch: Mapping[str, Tensor], stage: str) -> dict[str, Tensor]:
        sides, told = self.sides(network, batch), {"rows": batch["rows"]}
        self.rows[stage].update(len(sides[0]))
        if self.objective != "cosine":
            self.found[stage]["vectors"].update(sides, batch["contents"])  # type: ignore[index]
            return told
        target, low, high = self.target(batch), *self.span
        for width in self.widths:
            estimate = cosine(sides[0], sides[1], width)
            self.found[stage][str(width)].update(estimate, target)  # type: ignore[index]
        return told | {"score": batch["score"], "estimate": low + (high - low) * estimate}

    def results(self, stage: str) -> dict[str, float]:
        found = {name: metric.compute() for name, metric in self.found[stage].items()}  # type: ignore[operator]
        rows = {"rows": self.rows[stage].compute().item()}
        if self.objective == "cosine":
            told = {width: {name: found[str(width)][name].item() for name in SCORED} for width in self.widths}
            return {"loss": found["None"]["loss"].item()} | self.named(told) | rows
        texts = found["vectors"]
        told = {width: retrieval.measures(*retrieval.hits(texts, width)) for width in self.widths}
        return {"loss": self.loss_among_all(texts)} | self.named(told) | rows | {"documents": len(texts.documents)}

    def named(self, told: Mapping[int | None, Mapping[str, float]]) -> dict[str, float]:
        """The metrics that are asked for, and of prefixes the first of them."""
        of_prefixes = {f"{self.measured[0]}_d{width}": told[width][self.measured[0]] for width in self.widths[:-1]}
        return {name: told[None][name] for name in self.measured} | of_prefixes

    def loss_among_all(self, texts: retrieval.Texts) -> float:
        """The mean over all answers of what it costs to find each among the documents that are none."""
        total = 0.0
        for block in retrieval.blocks(texts):
            row, document = block.relevant.nonzero(as_tuple=True)
            total += self.costs(block.cosines[row], document, block.other[row]).double().sum().item()
        return total / max(1, len(texts.relevant))

    def tables(self, stage: str) -> dict[str, Any]:
        if self.objective != "cosine":
            return {}
        told = self.found[stage]["None"].compute()  # type: ignore[index]
        return {"estimates": {name: told[name].tolist() for name in ("scores", "estimates")}}

    def reset(self, stage: str) -> None:
        for metric in (self.rows[stage], *self.found[stage].values()):  # type: ignore[operator]
            metric.reset()

    def predict(self, network: Network, batch: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """How alike the two texts of a pair are, on the scale of the scores where there are some."""
        low, high = self.span
        one, other, *_ = self.sides(network, batch)
        cosines = cosine(one, other).cpu()
        return [{"score": low + (high - low) * value} for value in cosines.tolist()]


def cosine(one: Float[Tensor, "B D"], other: Float[Tensor, "B D"], width: int | None = None) -> Float[Tensor, "B"]:
    """Of the first `width` numbers of each two."""
    return F.cosine_similarity(one[:, :width], other[:, :width], dim=1)

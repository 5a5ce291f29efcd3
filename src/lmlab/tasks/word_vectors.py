"""Vectors of words from raw text, judged by how people judge words."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torchmetrics import SumMetric

from lmlab.evaluation import similarity
from lmlab.nn.network import Network
from lmlab.ranges import Seed
from lmlab.tasks.task import Task

log = logging.getLogger(__name__)


class WordVectors(Task):
    """The loss of a family that tells words by their neighbours, and how far its vectors go with people's scores.

    The loss of a split is that of one draw of windows and other words, the same at each validation.
    """

    def __init__(
        self,
        *,
        similarities: Sequence[Literal["wordsim353", "simlex999"]] = ("wordsim353", "simlex999"),
        analogies: bool = True,
        seed: Seed = 0,
    ) -> None:
        super().__init__()
        self.similarities, self.analogies, self.seed = tuple(similarities), analogies, seed
        self.vectors: Tensor | None = None
        self.sums = nn.ModuleDict({stage: nn.ModuleDict() for stage in ("val", "test")})
        for sums in self.sums.values():
            for name in ("loss", "pairs"):
                sums[name] = SumMetric().set_dtype(torch.float64)  # type: ignore[operator]

    def loss(self, network: Network, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return network.neighbour_loss(batch["tokens"], batch["mask"])

    def score(self, network: Network, batch: Mapping[str, Tensor], stage: str) -> dict[str, Tensor]:
        devices = [batch["tokens"].device] if batch["tokens"].is_cuda else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self.seed + int(batch["rows"][0]))
            found = self.loss(network, batch)
        for name, value in zip(("loss", "pairs"), found, strict=True):
            self.sums[stage][name].update(value.double())  # type: ignore[index]
        self.vectors = network.word_vectors().detach()
        return {"rows": batch["rows"]}

    def results(self, stage: str) -> dict[str, float]:
        loss, pairs = (self.sums[stage][name].compute().item() for name in ("loss", "pairs"))  # type: ignore[index]
        found = {"loss": loss / max(pairs, 1)}
        if self.vectors is None:
            return found
        vectors, ids = self.vectors.detach().float().cpu(), similarity.word_ids(self.tokenizer)
        for name in self.similarities:
            if path := self.file(similarity.PAIRS[name]):
                told = similarity.agreement(vectors, ids, similarity.scored_pairs(path))
                found |= {name: told.spearman, f"{name}_rows": float(told.n_pairs)}
        if self.analogies and not self.between_steps and (path := self.file(similarity.ANALOGIES)):
            found |= similarity.analogies(vectors, ids, path)
        return found

    def file(self, name: str) -> Path | None:
        """A list of people's judgements; None, and a line that says how to get it, where there is none."""
        path = similarity.published(name)
        if path is None:
            log.info("%s is not judged: it comes with gensim (pip install 'lmlab[vectors]')", name)
        return path

    def reset(self, stage: str) -> None:
        for metric in self.sums[stage].values():  # type: ignore[operator]
            metric.reset()

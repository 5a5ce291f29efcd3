"""GloVe: vectors of words whose products tell how often the words stand together (Pennington et al., 2014)."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.optim import Adagrad

from lmlab.errors import ConfigError, DataError
from lmlab.module import LanguageModule, mixed
from lmlab.nn.cooccurrence import cooccurrences
from lmlab.nn.embeddings import TokenEmbedding
from lmlab.nn.network import Network
from lmlab.nn.noise import Dropout
from lmlab.nn.pairs import Pairs, both_ways, dots
from lmlab.nn.windows import windows
from lmlab.optimizers import highest_rate
from lmlab.ranges import Fraction, PositiveFloat, PositiveInt
from lmlab.tasks.task import Task
from lmlab.tokenizer import Tokenizer
from lmlab.vector_files import writers

log = logging.getLogger(__name__)

ORDINARY = Tokenizer.mask_id + 1  # the first id that is a word
EPSILON = 1e-10


class Glove(Network):
    """Two tables with a bias each: w_i . v_j + b_i + c_j is to be the log of how often i and j stand together.

    A word's vector is w + v (section 4.2). As an encoder of labelled texts it is one table, whose rows are averaged.
    """

    may_begin_anew = ("output", "bias")

    def __init__(
        self,
        vocab_size: PositiveInt,
        d_model: PositiveInt = 100,
        *,
        architecture: Literal["vectors", "encoder"] = "vectors",
        window: PositiveInt = 10,
        enough: PositiveFloat = 100.0,
        power: PositiveFloat = 0.75,
        dropout: Fraction = 0.0,
        token_dropout: Fraction = 0.0,
    ) -> None:
        super().__init__()
        self.window, self.enough, self.power = window, enough, power
        self.embedding = TokenEmbedding(vocab_size, d_model, token_dropout=token_dropout)
        self.output: nn.Embedding | None = None
        self.dropout = Dropout(dropout)
        if architecture == "vectors":
            self.output = nn.Embedding(vocab_size, d_model)
            self.bias, self.output_bias = (nn.Parameter(torch.zeros(vocab_size)) for _ in range(2))
            for table in (self.embedding, self.output):
                nn.init.uniform_(table.weight, -0.5 / d_model, 0.5 / d_model)

    def encode(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T D"]:
        return self.dropout(self.embedding(tokens))

    def word_vectors(self) -> Float[Tensor, "V D"]:
        return self.embedding.weight if self.output is None else self.embedding.weight + self.output.weight

    def errors(self, pairs: Pairs) -> Float[Tensor, "N"]:
        """w_i . v_j + b_i + c_j - log X of each pair."""
        products = dots(self.embedding.weight, self.output.weight, pairs)
        return products + self.bias[pairs.first] + self.output_bias[pairs.second] - pairs.weight.log()

    def share(self, weight: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
        """f(X): what a pair of that weight counts in the loss (equation 9)."""
        return (weight / self.enough).clamp(max=1) ** self.power

    @torch.no_grad()
    def gradients(self, pairs: Pairs) -> tuple[Tensor, dict[Tensor, tuple[Tensor, Tensor]]]:
        """The sum of f(X) error^2 (equation 8), and of each table the sum over pairs of half the gradient and that of
        its squares."""
        error = self.errors(pairs)
        change = self.share(pairs.weight) * error
        turned = change[pairs.turned]  # how each pair's own j is told by its i
        found: dict[Tensor, tuple[Tensor, Tensor]] = {}
        for table, other, rate in (
            (self.embedding.weight, self.output.weight, change),
            (self.output.weight, self.embedding.weight, turned),
        ):
            found[table] = pairs.sums(other, rate), pairs.sums(other.square(), rate.square())
        for bias, rate in ((self.bias, change), (self.output_bias, turned)):
            found[bias] = pairs.totals(rate), pairs.totals(rate.square())
        return change @ error, found

    @torch.no_grad()
    def neighbour_loss(self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> tuple[Tensor, Tensor]:
        """Of the neighbours, each weighing 1 / distance: -log of P(j | i) = exp(w_i . v_j + c_j) / (their sum over j).

        It is what the model of equations 1 to 7 says of a text that it has not counted.
        """
        if self.output is None:
            return super().neighbour_loss(tokens, mask)
        begins = tokens == Tokenizer.sep_id
        begins[:, 0] = True
        real = (tokens >= ORDINARY) & mask
        documents = begins.flatten().cumsum(0).view_as(tokens)
        found = windows(tokens[real], documents[real], self.window, 64, dynamic=False)
        piece, centre, place = found.near.nonzero(as_tuple=True)
        weight = 1 / (place - centre - self.window).abs().float()
        words, which = torch.unique(found.centres[piece, centre], return_inverse=True)
        neighbours = found.around[piece, place]
        vectors, outputs = self.embedding.weight[words], self.output.weight
        scores = (torch.addmm(self.output_bias, part, outputs.T)[:, ORDINARY:] for part in vectors.split(1024))
        total = torch.cat([part.logsumexp(1) for part in scores])[which]
        products = torch.linalg.vecdot(vectors[which], outputs[neighbours])
        return weight @ (total - products - self.output_bias[neighbours]), weight.sum()


class GloveModule(LanguageModule):
    """Counts once, and then answers each batch of an epoch with its share of all pairs, in an order of the epoch's own.

    Processes and micro-batches share the pairs as they do rows: how the text is cut into batches tells how many pairs
    are in a step, and nothing else.
    """

    network: Glove

    def __init__(self, network: Glove, task: Task, **parts: Any) -> None:
        super().__init__(network, task, **parts)
        self.automatic_optimization = network.output is None
        self.order_of: int | None = None  # the epoch of `order`

    @property
    def exports(self) -> dict[str, Callable[[Path, Tokenizer], list[Path]]]:
        return writers(lambda: self.network.word_vectors().detach().float().cpu().numpy())

    def on_fit_start(self) -> None:
        if self.network.output is not None:
            self.count()

    def count(self) -> None:
        """What stands together in the training text."""
        corpus: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        begun = time.perf_counter()
        values, offsets = corpus.documents("train")[:2]
        first, second, weight = cooccurrences(values, offsets, self.network.window, ordinary=ORDINARY)
        if not len(first):
            raise DataError("no two words of the training text stand together", "data", "Give longer texts")
        taken = time.perf_counter() - begun
        log.info(
            "%s pairs of words counted in %s tokens: %.1f s, %.1f million tokens/s",
            f"{len(first):,}",
            f"{len(values):,}",
            taken,
            len(values) / 1e6 / taken,
        )
        words = (torch.from_numpy(column.astype(np.int32)) for column in (first, second))
        self.counts = (*words, torch.from_numpy(weight.astype(np.float32)))

    def configure_optimizers(self) -> dict:
        made: dict = super().configure_optimizers()
        if self.network.output is not None and type(made["optimizer"]) is not Adagrad:
            what = f"GloVe's vectors learn by AdaGrad, not by {type(made['optimizer']).__name__}"
            raise ConfigError(what, "optimizer", "Add optimizer=adagrad")
        return made

    def training_step(self, batch: Mapping[str, Tensor], index: int) -> Tensor | None:  # type: ignore[override]
        if self.network.output is None:
            return super().training_step(batch, index)
        optimizer: Any = self.optimizers()
        rate = highest_rate(optimizer)
        pairs = self.pairs(index)
        total, found = self.network.gradients(pairs)
        if index % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.log_in_place(total, torch.tensor(float(len(pairs.weight))), rate)
        for table, parts in found.items():
            gradient, squares = (self.trainer.strategy.reduce(part, reduce_op="sum") for part in parts)
            sums = optimizer.state[table]["sum"].add_(squares)
            table.data.addcdiv_(gradient, sums.sqrt().add_(EPSILON), value=-rate)
        optimizer.step()  # of no gradient: it counts the steps
        self.lr_schedulers().step()  # type: ignore[union-attr]
        return None

    def pairs(self, index: int) -> Pairs:
        """Those of this epoch's batch of that number."""
        world = self.trainer.world_size
        n_parts = int(self.trainer.num_training_batches) * world
        part = index * world + self.global_rank
        if (epoch := self.trainer.current_epoch) != self.order_of:
            generator = torch.Generator().manual_seed(mixed(self.seed, epoch))
            self.order, self.order_of = torch.randperm(len(self.counts[0]), generator=generator), epoch
        begin, end = (len(self.order) * number // n_parts for number in (part, part + 1))
        own = self.order[begin:end].sort().values
        one, other, weight = (column[own].to(self.device) for column in self.counts)
        return both_ways(one, other, weight, len(self.network.bias))

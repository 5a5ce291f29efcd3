"""n-gram models: the next token by counting what followed the last n - 1 ones, and Bayes' rule with one a class."""

import logging
import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlab.module import LanguageModule
from lmlab.nn.network import Network
from lmlab.nn.ngram_counts import count_ngrams
from lmlab.nn.ngram_table import NgramTable
from lmlab.nn.smoothing import FALLBACK, Estimates, add_k, maximum_likelihood, modified_kneser_ney
from lmlab.ranges import PositiveFloat, PositiveInt
from lmlab.tasks.task import Task
from lmlab.tokenizer import Tokenizer

log = logging.getLogger(__name__)

BEGIN, END = Tokenizer.cls_id, Tokenizer.sep_id  # <s> and </s>; a [SEP] before a text is its <s>


class Ngram(Network):
    """Smoothed relative frequencies (Chen and Goodman, 1998); a state is the last n - 1 tokens, -1 where none are.

    As a decoder it has one table; as an encoder one for each class, and the states of a text are its tokens'
    log-probabilities under each, whose sum is what Bayes' rule needs.
    """

    def __init__(
        self,
        vocab_size: PositiveInt,
        *,
        architecture: Literal["encoder", "decoder"],
        order: PositiveInt = 5,
        smoothing: Literal["kneser_ney", "add_k", "maximum_likelihood"] = "kneser_ney",
        k: PositiveFloat = 0.01,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.log_prior: Tensor
        self.order, self.smoothing, self.k = order, smoothing, k
        n_tables = len(classes or ()) if architecture == "encoder" else 1
        self.tables = nn.ModuleList(NgramTable(vocab_size, order) for _ in range(n_tables))
        self.register_buffer("log_prior", torch.zeros(n_tables))

    @property
    def table(self) -> NgramTable:
        return self.tables[0]  # type: ignore[return-value]

    def learn(self, number: int, values: np.ndarray, offsets: np.ndarray, known: int) -> None:
        """Fill a table with documents of token ids, framed as <s> text </s>; ids below `known` may be predicted."""
        counts = count_ngrams(values, offsets, self.order, vocab_size=self.table.vocab_size, begin=BEGIN, end=END)
        predicted = np.zeros(self.table.vocab_size, bool)
        predicted[[Tokenizer.unk_id, END]] = predicted[Tokenizer.mask_id + 1 : known] = True
        estimated: list[Estimates]
        if self.smoothing == "kneser_ney":
            estimated = modified_kneser_ney(counts, predicted, fallback=FALLBACK)
        elif self.smoothing == "add_k":
            estimated = add_k(counts, predicted, k=self.k)
        else:
            estimated = maximum_likelihood(counts)
        self.tables[number].fill(estimated)  # type: ignore[operator]

    def encode(self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T C"]:
        states = contexts(tokens, self.order)[:, :-1]  # of the tokens after the first
        scores = torch.stack([table.log_prob(states, tokens[:, 1:]) for table in self.tables], dim=-1)  # type: ignore[operator]
        return nn.functional.pad(scores, (0, 0, 1, 0)).masked_fill(~mask.unsqueeze(-1), 0.0)

    def pool(self, states: Float[Tensor, "B T C"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B C"]:
        """ln p(text, class) of each class."""
        return states.sum(1) + self.log_prior

    def decode(
        self,
        tokens: Int[Tensor, "B T"],
        memory: Float[Tensor, "B S D"] | None = None,
        memory_mask: Bool[Tensor, "B S"] | None = None,
        cache: dict | None = None,
    ) -> Int[Tensor, "B T C"]:
        length = tokens.shape[1]
        if cache is not None:
            tokens = torch.cat((cache["tokens"], tokens), dim=1) if "tokens" in cache else tokens
            cache["tokens"] = tokens[:, -(self.order - 1) :] if self.order > 1 else tokens[:, :0]
        return contexts(tokens, self.order)[:, -length:]

    def logits(self, states: Int[Tensor, "B T C"]) -> Float[Tensor, "B T V"]:
        return self.table.distribution(states.flatten(0, 1)).unflatten(0, states.shape[:2])

    def compile(self, **options: Any) -> None:
        """Tables are looked up: a graph would only cost its making."""

    def losses(self, states: Int[Tensor, "N C"], targets: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
        return torch.where(targets >= 0, -self.table.log_prob(states, targets.clamp(min=0)), 0.0)


class NgramModule(LanguageModule):
    """Training is counting: one pass over the corpus, no gradient, no optimizer step."""

    network: Ngram

    def __init__(self, network: Ngram, task: Task, **parts: Any) -> None:
        super().__init__(network, task, **parts)
        self.automatic_optimization = False

    def configure_optimizers(self) -> None:  # type: ignore[override]
        return None

    def on_fit_start(self) -> None:
        trainer, network = self.trainer, self.network
        corpus = trainer.datamodule  # type: ignore[attr-defined]
        trainer.limit_train_batches, trainer.val_check_interval, trainer.fit_loop.max_epochs = 1, 1.0, 1
        if trainer.ckpt_path is not None:
            return
        started, n_tokens = time.monotonic(), 0
        rows: list[int] = []  # of each class
        for number in range(len(network.tables)):
            values, offsets = corpus.documents("train", label=number if len(network.tables) > 1 else None)
            network.learn(number, values, offsets, len(corpus.tokenizer))
            n_tokens, rows = n_tokens + len(values), [*rows, len(offsets) - 1]
        network.log_prior.copy_((torch.tensor(rows) / sum(rows)).log())
        log.info("counted %s tokens in %.1f s", f"{n_tokens:,}", time.monotonic() - started)

    def training_step(self, batch: Any, index: int) -> None:  # type: ignore[override]
        """There is nothing left to learn."""


def contexts(tokens: Int[Tensor, "B T"], order: int) -> Int[Tensor, "B T C"]:
    """The last n - 1 tokens at each position, the most recent last: none from before the text's beginning."""
    length = tokens.shape[1]
    place = torch.arange(length, device=tokens.device)
    begins = torch.where((tokens == END) | (tokens == BEGIN), place, -1).cummax(1).values  # (B, T)
    marked = torch.where(tokens == END, BEGIN, tokens)
    columns = []
    for back in reversed(range(order - 1)):
        column = nn.functional.pad(marked, (back, 0), value=-1)[:, :length]
        columns.append(torch.where(place - back >= begins.clamp(min=0), column, -1))
    return torch.stack(columns, dim=-1) if columns else tokens.new_zeros(*tokens.shape, 0)

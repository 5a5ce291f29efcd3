"""n-gram models: the next token by counting what followed the last n - 1 ones, and Bayes' rule with one a class."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlab.errors import ConfigError, InputMissing
from lmlab.module import LanguageModule
from lmlab.nn.arpa import write_arpa
from lmlab.nn.arpa_reading import read_arpa
from lmlab.nn.class_models import class_models
from lmlab.nn.network import Network
from lmlab.nn.ngram_contexts import contexts, first_ones
from lmlab.nn.ngram_counts import NgramCounts, count_ngrams
from lmlab.nn.ngram_table import NgramTable
from lmlab.nn.smoothing import FALLBACK, Estimates, add_k, maximum_likelihood, modified_kneser_ney
from lmlab.ranges import PositiveFloat, PositiveInt
from lmlab.tasks.task import Task
from lmlab.tokenizer import Tokenizer

log = logging.getLogger(__name__)

BEGIN, END = Tokenizer.cls_id, Tokenizer.sep_id  # <s> and </s>; a [SEP] before a text is its <s>
SYMBOLS = {"begin": BEGIN, "end": END, "unknown": Tokenizer.unk_id}


class Ngram(Network):
    """Smoothed relative frequencies (Chen and Goodman, 1998); a state is the last n - 1 tokens, -1 where none are.

    As a decoder it has one table; as an encoder one for each class, and the states of a text are its tokens'
    log-probabilities under each, whose sum is what Bayes' rule needs. The classes' tables are estimated together, with
    a prior of this `concentration` on what an n-gram says of the class, or without it each from its own texts alone.
    With `count_once` they count in how many texts an n-gram is, and a text's tokens are scored where they first come:
    a word that is said again is little news (Church, 2000; Wang and Manning, 2012).
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
        concentration: PositiveFloat | None = 10.0,
        count_once: bool = True,
    ) -> None:
        super().__init__()
        self.log_prior: Tensor
        self.order, self.smoothing, self.k = order, smoothing, k
        self.concentration, self.count_once = concentration, count_once
        self.classifies = architecture == "encoder"
        n_tables = len(classes or ()) if self.classifies else 1
        self.tables = nn.ModuleList(NgramTable(vocab_size, order) for _ in range(n_tables))
        self.register_buffer("log_prior", torch.zeros(n_tables))

    @property
    def n_parameters(self) -> int:
        """Probabilities and back-off weights."""
        return sum(value.numel() for value in self.buffers() if value.is_floating_point())

    @property
    def table(self) -> NgramTable:
        return self.tables[0]  # type: ignore[return-value]

    def learn(self, values: np.ndarray, offsets: np.ndarray, known: int) -> None:
        """Fill the table with documents of token ids, framed as <s> text </s>; ids below `known` may be predicted."""
        self.table.fill(self.estimates(self.counts(values, offsets), known))

    def learn_classes(self, values: np.ndarray, offsets: np.ndarray, known: int, labels: np.ndarray) -> None:
        """Fill the table of each class, and how often each occurs."""
        n_classes = len(self.tables)
        found = np.bincount(labels, minlength=n_classes)
        self.log_prior.copy_(torch.from_numpy(found / found.sum()).log())
        if self.concentration is None:
            parts = (documents_of(values, offsets, labels == number) for number in range(n_classes))
            models = [self.estimates(self.counts(*part, once=self.count_once), known) for part in parts]
        else:
            counts = self.counts(values, offsets, labels=labels, n_classes=n_classes, once=self.count_once)
            models = class_models(self.estimates(counts, known), counts, self.concentration)
        for table, model in zip(self.tables, models, strict=True):
            table.fill(model)  # type: ignore[operator]

    def counts(self, values: np.ndarray, offsets: np.ndarray, **options: Any) -> NgramCounts:
        size = self.table.vocab_size
        return count_ngrams(values, offsets, self.order, vocab_size=size, begin=BEGIN, end=END, **options)

    def estimates(self, counts: NgramCounts, known: int) -> list[Estimates]:
        """The model that the smoothing makes of counts; ids below `known` may be predicted."""
        predicted = np.zeros(counts.vocab_size, bool)
        predicted[[Tokenizer.unk_id, END]] = predicted[Tokenizer.mask_id + 1 : known] = True
        if self.smoothing == "kneser_ney":
            return modified_kneser_ney(counts, predicted, fallback=FALLBACK)
        if self.smoothing == "add_k":
            return add_k(counts, predicted, k=self.k)
        return maximum_likelihood(counts)

    def encode(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T C"]:
        states = contexts(tokens, self.order, begin=BEGIN, end=END)[:, :-1]  # of the tokens after the first
        scores = torch.stack([table.log_prob(states, tokens[:, 1:]) for table in self.tables], dim=-1)  # type: ignore[operator]
        said = scores.isfinite().any(-1)  # what no class says, as maximum likelihood has it, tells none apart
        if self.count_once:
            said &= first_ones(tokens[:, 1:])
        return nn.functional.pad(scores.masked_fill(~(said & mask[:, 1:]).unsqueeze(-1), 0.0), (0, 0, 1, 0))

    def pool(self, states: Float[Tensor, "B T C"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B C"]:
        """ln p(text, class) of each class."""
        return states.sum(1) + self.log_prior

    def decode(
        self,
        tokens: Int[Tensor, "B T"],
        memory: Float[Tensor, "B S D"] | None = None,
        memory_mask: Bool[Tensor, "B S"] | None = None,
        cache: dict | None = None,
        documents: Int[Tensor, "B T"] | None = None,
    ) -> Int[Tensor, "B T C"]:
        length = tokens.shape[1]
        if cache is not None:
            tokens = torch.cat((cache["tokens"], tokens), dim=1) if "tokens" in cache else tokens
            cache["tokens"] = tokens[:, -(self.order - 1) :] if self.order > 1 else tokens[:, :0]
        return contexts(tokens, self.order, begin=BEGIN, end=END)[:, -length:]

    def logits(self, states: Int[Tensor, "B T C"]) -> Float[Tensor, "B T V"]:
        return self.table.distribution(states.flatten(0, 1)).unflatten(0, states.shape[:2])

    def compile(self, **options: Any) -> None:
        """Tables are looked up: a graph would only cost its making."""

    def losses(self, states: Int[Tensor, "N C"], targets: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
        return torch.where(targets >= 0, -self.table.log_prob(states, targets.clamp(min=0)), 0.0)


class NgramModule(LanguageModule):
    """Training is counting, or reading what another program has counted: no gradient, no optimizer step."""

    network: Ngram

    def __init__(self, network: Ngram, task: Task, *, arpa: str | None = None, **parts: Any) -> None:
        super().__init__(network, task, **parts)
        self.automatic_optimization = False
        self.arpa = arpa
        if arpa and network.classifies:
            raise ConfigError("one ARPA file is no model of each class", "model.arpa", "Add task=causal_lm")

    @property
    def exports(self) -> dict[str, Callable[[Path, Tokenizer], list[Path]]]:
        return {"arpa": self.write_arpa}

    def configure_optimizers(self) -> None:  # type: ignore[override]
        return None

    def on_fit_start(self) -> None:
        trainer, network = self.trainer, self.network
        corpus = trainer.datamodule  # type: ignore[attr-defined]
        trainer.limit_train_batches, trainer.val_check_interval, trainer.fit_loop.max_epochs = 1, 1.0, 1
        if trainer.ckpt_path is not None:
            return
        if corpus.tokenizer.frame != Tokenizer.frame:
            what = "the tokenizer has other special entries than n-gram models are counted with"
            raise ConfigError(what, "tokenizer", "Train one: leave out tokenizer.path=")
        started = time.monotonic()
        if self.arpa:
            self.read_arpa(Path(self.arpa).expanduser(), corpus.tokenizer)
            return log.info("read %s in %.1f s", self.arpa, time.monotonic() - started)
        values, offsets, labels = corpus.documents("train")
        if network.classifies:
            network.learn_classes(values, offsets, len(corpus.tokenizer), labels)
        else:
            network.learn(values, offsets, len(corpus.tokenizer))
        log.info("counted %s tokens in %.1f s", f"{len(values):,}", time.monotonic() - started)

    def read_arpa(self, path: Path, tokenizer: Tokenizer) -> None:
        """Take the model of an ARPA file in the place of counting; words are told by their text."""
        if not path.is_file():
            raise InputMissing("no ARPA file", str(path), "Correct model.arpa=")
        heard = np.zeros(tokenizer.vocab_size, bool)
        heard[Tokenizer.mask_id + 1 : len(tokenizer)] = True
        table = read_arpa(path, self.words(tokenizer), **SYMBOLS, heard=heard)
        if table.order != self.network.order:
            what = f"the file holds {table.order}-grams, and the model {self.network.order}-grams"
            raise ConfigError(what, str(path), f"Add model.network.order={table.order}")
        self.network.table.load_state_dict(table.state_dict())

    def write_arpa(self, folder: Path, tokenizer: Tokenizer) -> list[Path]:
        """model.arpa, or a file for each class."""
        names = ["model"] if not self.network.classifies else [f"class{i}" for i in range(len(self.network.tables))]
        files = [folder / f"{name}.arpa" for name in names]
        for file, table in zip(files, self.network.tables, strict=True):
            write_arpa(file, table, self.words(tokenizer), **SYMBOLS)  # type: ignore[arg-type]
        return files

    def words(self, tokenizer: Tokenizer) -> list[str]:
        """What each row of a table stands for; there may be more of them than the tokenizer has learned entries."""
        known = tokenizer.entries()
        return known + [f"[unused {i}]" for i in range(len(known), tokenizer.vocab_size)]

    def training_step(self, batch: Any, index: int) -> None:  # type: ignore[override]
        """There is nothing left to learn."""


def documents_of(values: np.ndarray, offsets: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The documents among values[offsets[d]:offsets[d + 1]] that are chosen."""
    lengths = np.diff(offsets)
    kept = values[offsets[0] : offsets[-1]][np.repeat(chosen, lengths)]
    return kept, np.append(0, lengths[chosen].cumsum())

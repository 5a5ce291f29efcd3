"""word2vec: a vector for each word, by which its neighbours can be told from other words (Mikolov et al., 2013)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.optim import SGD

from lmlab.errors import ConfigError
from lmlab.module import LanguageModule
from lmlab.nn.embeddings import NgramEmbedding, TokenEmbedding
from lmlab.nn.huffman import paths
from lmlab.nn.network import Network
from lmlab.nn.noise import Dropout
from lmlab.nn.windows import Windows, windows
from lmlab.optimizers import highest_rate
from lmlab.ranges import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from lmlab.tasks.task import Task
from lmlab.tokenizer import Tokenizer
from lmlab.vector_files import writers

ORDINARY = Tokenizer.mask_id + 1  # the first id that is a word


class Decisions(NamedTuple):
    """What vectors are asked: N inputs (K, N, D) beside O outputs (K, O, D), each pair as often as `weight` says."""

    inputs: Int[Tensor, "K L"]  # rows of the words' table
    mixed: Float[Tensor, "K N L"] | None  # an input is such a sum of rows; the rows themselves if None
    outputs: Int[Tensor, "K O"]  # rows of the other table
    weight: Float[Tensor, "K N O"]
    label: Float[Tensor, "K 1 O"]  # 1: the pair is to be told as real


class Word2Vec(Network):
    """Two tables: of words as they read, which is what is kept, and of words (or a tree's nodes) as they are read.

    Skip-gram lets each neighbour tell the word, CBOW the mean of them. What is told is the word among words drawn by
    their counts ** 0.75, or with `hierarchical_softmax` each turn on the way to it in Huffman's tree. Pieces of
    `piece` words share their drawn words, which turns the work into matrix products (Ji et al., 2016, section 3).
    As an encoder of labelled texts its vectors are averaged, beside those of frequent n-grams (Joulin et al., 2016).
    """

    may_begin_anew = ("output.", "ngrams.", "counts")

    def __init__(
        self,
        vocab_size: PositiveInt,
        d_model: PositiveInt = 100,
        *,
        architecture: Literal["vectors", "encoder"] = "vectors",
        objective: Literal["skip_gram", "cbow"] = "skip_gram",
        softmax: Literal["negative_sampling", "hierarchical"] = "negative_sampling",
        window: PositiveInt = 5,
        dynamic_window: bool = True,
        negatives: PositiveInt = 5,
        piece: PositiveInt = 32,
        shared_negatives: PositiveInt = 32,
        calm: PositiveFloat = 2.5,
        subsampling: NonNegativeFloat = 1e-3,
        dropout: Fraction = 0.0,
        token_dropout: Fraction = 0.0,
        ngram_orders: Sequence[PositiveInt] = (),
        ngram_rows: PositiveInt = 100_000,
        ngram_dropout: Fraction = 0.5,
    ) -> None:
        super().__init__()
        self.cbow, self.window, self.dynamic_window = objective == "cbow", window, dynamic_window
        self.negatives, self.shared_negatives, self.subsampling = negatives, shared_negatives, subsampling
        self.calm = calm
        self.hierarchical = softmax == "hierarchical"
        self.piece = 1 if self.hierarchical else piece
        self.embedding = TokenEmbedding(vocab_size, d_model, token_dropout=token_dropout)
        nn.init.uniform_(self.embedding.weight, -0.5 / d_model, 0.5 / d_model)
        self.output = nn.Embedding(vocab_size, d_model) if architecture == "vectors" else None
        if self.output is not None:
            nn.init.zeros_(self.output.weight)
        self.ngrams = None
        if ngram_orders:
            self.ngrams = NgramEmbedding(vocab_size, d_model, ngram_orders, ngram_rows, dropout=ngram_dropout)
        self.dropout = Dropout(dropout)
        self.counts: Tensor
        self.register_buffer("counts", torch.zeros(vocab_size, dtype=torch.int64))

    def encode(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T D"]:
        x = self.embedding(tokens)
        return self.dropout(x if self.ngrams is None else x + self.ngrams(tokens))

    # how vectors are learned

    def learn_counts(self, values: np.ndarray) -> None:
        """How often each word is in the training text; special tokens are no words."""
        self.counts.copy_(torch.from_numpy(np.bincount(values, minlength=len(self.counts))))
        self.counts[:ORDINARY] = 0

    def make_ready(self) -> None:
        """What follows from the counts."""
        total = self.counts.sum().clamp(min=1)
        often = self.counts / (self.subsampling * total) if self.subsampling else torch.zeros_like(total)
        self.kept = torch.where(often > 1, often**-0.5 + 1 / often.clamp(min=1), 1.0).expand(len(self.counts))
        self.noise = (self.counts**0.75).double().cumsum(0)
        if self.hierarchical:
            known = int(self.counts.nonzero().max()) + 1  # ids go from frequent to rare
            self.nodes, self.turns, self.depth = (
                torch.from_numpy(part) for part in paths(self.counts[:known].tolist())
            )

    def stream(self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> tuple[Tensor, Tensor]:
        """The words of a batch (M,), frequent ones left out by chance (Mikolov et al., 2013b, 2.3), and their texts."""
        begins = tokens == Tokenizer.sep_id
        begins[:, 0] = True
        document = begins.flatten().cumsum(0)
        kept = (tokens >= ORDINARY) & mask & (torch.rand(tokens.shape, device=tokens.device) < self.kept[tokens])
        return tokens[kept], document[kept.flatten()]

    def decisions(self, found: Windows) -> Decisions:
        """What the words of pieces are asked."""
        near = found.near.float()
        centres = found.centres
        if self.cbow:
            inputs, mixed = found.around, near / near.sum(2, keepdim=True).clamp(min=1)
            asked = torch.diag_embed(near.amax(2))  # (K, C, C): a word without a neighbour is not asked
        else:
            inputs, mixed = found.around, None
            asked = near.transpose(1, 2)  # (K, L, C)
        if self.hierarchical:  # of pieces of one word
            outputs, label = self.nodes[centres[:, 0]], 1 - self.turns[centres].float()
            inside = torch.arange(outputs.shape[1], device=outputs.device) < self.depth[centres]
            return Decisions(inputs, mixed, outputs, asked * inside.unsqueeze(1), label)
        drawn = torch.rand(len(centres), self.shared_negatives, device=centres.device, dtype=torch.float64)
        negatives = torch.searchsorted(self.noise, drawn * self.noise[-1], right=True)
        share = self.negatives / self.shared_negatives
        against = (asked.sum(2, keepdim=True) * share).expand(-1, -1, self.shared_negatives)
        label = torch.zeros(1, 1, centres.shape[1] + self.shared_negatives, device=centres.device)
        label[..., : centres.shape[1]] = 1
        weight = torch.cat((asked, against), dim=2)
        return Decisions(inputs, mixed, torch.cat((centres, negatives), dim=1), weight, label)

    def ask(self, asked: Decisions) -> tuple[Tensor, Tensor, Tensor]:
        """(inputs (K, N, D), outputs (K, O, D), probabilities (K, N, O) that the pairs are real)."""
        inputs, outputs = self.embedding.weight[asked.inputs], self.output.weight[asked.outputs]
        inputs = inputs if asked.mixed is None else asked.mixed @ inputs
        return inputs, outputs, (inputs @ outputs.transpose(1, 2)).sigmoid_()

    @torch.no_grad()
    def neighbour_loss(self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> tuple[Tensor, Tensor]:
        if self.output is None:
            return super().neighbour_loss(tokens, mask)
        words, documents = self.stream(tokens, mask)
        return self.loss_of(words, documents)

    def word_vectors(self) -> Float[Tensor, "V D"]:
        return self.embedding.weight

    def loss_of(self, words: Int[Tensor, "M"], documents: Int[Tensor, "M"]) -> tuple[Tensor, Tensor]:
        """(the sum of -log p of all decisions, how many pairs of a word and what tells it there are)."""
        asked = self.decisions(windows(words, documents, self.window, self.piece, self.dynamic_window))
        probability = self.ask(asked)[2]
        right = torch.where(asked.label > 0, probability, 1 - probability)
        return -(right.clamp(min=1e-12).log() * asked.weight).sum(), asked.weight.mul(asked.label).sum()

    @torch.no_grad()
    def move(self, words: Int[Tensor, "M"], documents: Int[Tensor, "M"], rate: float) -> None:
        """One step of gradient descent on the sum of all decisions' losses, in the rows that take part.

        The rates of a row's decisions add up to `calm` at most: one after another, each of them would find the row
        where the one before has left it, and the sum of many overshoots.
        """
        asked = self.decisions(windows(words, documents, self.window, self.piece, self.dynamic_window))
        inputs, outputs, error = self.ask(asked)
        error.sub_(asked.label).mul_(asked.weight).mul_(-rate)
        of_reading, of_told = asked.weight.sum(2), asked.weight.sum(1)
        if asked.mixed is not None:
            of_reading = (asked.mixed.transpose(1, 2) @ of_reading.unsqueeze(2)).squeeze(2)
        reading = calmed(of_reading, asked.inputs, len(self.counts), self.calm / rate)
        told = calmed(of_told, asked.outputs, len(self.counts), self.calm / rate)
        if asked.mixed is None:
            of_inputs = (error * reading.unsqueeze(2)) @ outputs
        else:
            of_inputs = (asked.mixed * reading.unsqueeze(1)).transpose(1, 2) @ (error @ outputs)
        add_rows(self.embedding.weight, asked.inputs, of_inputs)
        add_rows(self.output.weight, asked.outputs, (error * told.unsqueeze(1)).transpose(1, 2) @ inputs)


def calmed(decisions: Float[Tensor, "K N"], rows: Int[Tensor, "K N"], n_rows: int, most: float) -> Float[Tensor, "K N"]:
    """By how much the change of each place is to be multiplied, so that its row, which other places may have too,
    changes by `most` decisions and no more."""
    total = decisions.new_zeros(n_rows).scatter_add_(0, rows.flatten(), decisions.flatten())
    return (most / total.clamp(min=most))[rows]


def add_rows(table: Float[Tensor, "V D"], rows: Int[Tensor, "K N"], changes: Float[Tensor, "K N D"]) -> None:
    changes = changes.flatten(0, 1)
    table.scatter_add_(0, rows.flatten().unsqueeze(1).expand_as(changes), changes)


class Word2VecModule(LanguageModule):
    """Gradient descent on a few thousand words at a time, in place and in the rows that take part alone: a batch is
    many such steps, at the learning rate that its optimizer and schedule tell.

    Of several processes each goes through its own rows of a batch, and then all take the sum of what has changed.
    """

    network: Word2Vec

    def __init__(
        self,
        network: Word2Vec,
        task: Task,
        *,
        words_at_once: PositiveInt = 1024,
        ngram_min_count: PositiveInt = 4,
        **parts: Any,
    ) -> None:
        super().__init__(network, task, **parts)
        self.words_at_once, self.ngram_min_count = words_at_once, ngram_min_count
        self.automatic_optimization = network.output is None

    @property
    def exports(self) -> dict[str, Callable[[Path, Tokenizer], list[Path]]]:
        return writers(lambda: self.network.word_vectors().detach().float().cpu().numpy())

    def on_fit_start(self) -> None:
        corpus: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if self.network.output is None:
            ngrams = self.network.ngrams
            if ngrams is not None and not ngrams.learned and self.trainer.ckpt_path is None:
                ngrams.learn(corpus.training_tokens(), self.ngram_min_count)
            return
        if self.trainer.ckpt_path is None:
            self.network.learn_counts(corpus.documents("train")[0])

    def on_train_start(self) -> None:
        if self.network.output is not None:
            self.network.make_ready()  # a checkpoint brings the counts

    def configure_optimizers(self) -> dict:
        if self.network.output is not None:
            made = self.make_optimizer([{"params": list(self.network.parameters())}])
            if type(made) is not SGD or made.defaults["momentum"] or made.defaults["weight_decay"]:
                what = f"word vectors learn by plain gradient descent, not by {type(made).__name__}"
                raise ConfigError(what, "optimizer", "Add optimizer=word_vectors")
        return super().configure_optimizers()

    def training_step(self, batch: Mapping[str, Tensor], index: int) -> Tensor | None:  # type: ignore[override]
        if self.network.output is None:
            return super().training_step(batch, index)
        optimizer: Any = self.optimizers()
        rate = highest_rate(optimizer)
        words, documents = self.network.stream(batch["tokens"], batch["mask"])
        parts = [*zip(words.split(self.words_at_once), documents.split(self.words_at_once), strict=True)]
        if index % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            with torch.no_grad():
                self.log_in_place(*self.network.loss_of(*parts[0]), rate)
        before = [table.detach().clone() for table in self.network.parameters()] if self.trainer.world_size > 1 else []
        for part in parts:
            self.network.move(*part, rate)
        for table, was in zip(self.network.parameters(), before, strict=bool(before)):
            change = self.trainer.strategy.reduce(table.detach() - was, reduce_op="sum")
            table.data.copy_(was.add_(change))
        optimizer.step()  # of no gradient: it counts the steps
        self.lr_schedulers().step()  # type: ignore[union-attr]
        return None

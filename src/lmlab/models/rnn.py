"""Recurrent networks (Elman, LSTM, GRU): readers of texts, writers that carry their state along, readers that write."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlab.errors import ConfigError
from lmlab.module import LanguageModule, mixed
from lmlab.nn.embeddings import NgramEmbedding, TokenEmbedding
from lmlab.nn.linear import Linear
from lmlab.nn.network import Network
from lmlab.nn.noise import Dropout
from lmlab.nn.pooling import AttentionPooling, last_states
from lmlab.nn.recurrent import RecurrentLayer, RecurrentStack
from lmlab.nn.recurrent_decoder import RecurrentDecoder
from lmlab.ranges import Fraction, PositiveInt
from lmlab.tasks.task import Task

HEARD = 0.3  # deviation of embeddings: no norm stands between them and the gates, which do not hear smaller ones
STATE = "recurrent_state"  # in a checkpoint: (rows of a global batch, layers, what a cell keeps, width)


class Recurrent(Network):
    """Embeddings and a stack of recurrent layers: an encoder reads both ways, a decoder from left to right.

    With both, the decoder looks at the source as Luong et al. (2015) or Bahdanau et al. (2015) do, by its `alignment`,
    and each has a table of embeddings of its own with `separate_embeddings`.

    `d_model` is the width of the states, of both directions together. The output shares the embeddings' weights, by
    way of a linear map where these are of another width (Inan et al., 2017; Merity et al., 2018).
    """

    def __init__(
        self,
        vocab_size: PositiveInt,
        d_model: PositiveInt,
        *,
        architecture: Literal["encoder", "decoder", "encoder-decoder"],
        cell: Literal["rnn", "lstm", "gru"] = "lstm",
        n_layers: PositiveInt = 1,
        d_embedding: PositiveInt | None = None,
        bidirectional: bool = True,
        pooling: Literal["mean", "attention", "last"] = "attention",
        alignment: Literal["luong", "bahdanau"] = "luong",
        dropout: Fraction = 0.1,
        weight_dropout: Fraction = 0.0,
        token_dropout: Fraction = 0.0,
        ngram_orders: Sequence[PositiveInt] = (),
        ngram_rows: PositiveInt = 100_000,
        ngram_dropout: Fraction = 0.5,
        tie_weights: bool = True,
        separate_embeddings: bool = False,
    ) -> None:
        super().__init__()
        width, self.alignments = d_embedding or d_model, architecture == "encoder-decoder"
        self.encodes = architecture != "decoder"
        self.bidirectional = bidirectional and self.encodes
        if self.bidirectional and d_model % 2:
            raise ConfigError(f"d_model {d_model} cannot be halved between two directions", "model.network")
        self.embedding = TokenEmbedding(vocab_size, width, token_dropout=token_dropout)
        self.source_embedding = None
        if self.alignments and separate_embeddings:
            self.source_embedding = TokenEmbedding(vocab_size, width, token_dropout=token_dropout)
            nn.init.normal_(self.source_embedding.weight, std=HEARD)
        self.ngrams = None
        if ngram_orders:
            self.ngrams = NgramEmbedding(vocab_size, width, ngram_orders, ngram_rows, dropout=ngram_dropout)
        self.dropout = Dropout(dropout)
        sizes: dict[str, Any] = {
            "d_input": width,
            "d_model": d_model,
            "bidirectional": self.bidirectional,
            "dropout": dropout,
            "weight_dropout": weight_dropout,
        }
        self.stack = RecurrentStack(cell, n_layers, **sizes)
        self.decoder = RecurrentDecoder(cell, n_layers, alignment=alignment, **sizes) if self.alignments else None
        self.pooling = pooling
        writes = architecture != "encoder"
        self.attention = AttentionPooling(d_model) if not writes and pooling == "attention" else None
        self.output = output_layer(self.embedding, d_model, tie_weights) if writes else None

    def encode(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T D"]:
        if not self.encodes:
            return super().encode(tokens, mask)
        lengths = mask.sum(1).clamp(min=1).cpu() if self.bidirectional else None  # one way, padding comes after all
        return self.stack(self.embed(tokens, {}, self.source_embedding), lengths=lengths)[0]

    def decode(
        self,
        tokens: Int[Tensor, "B T"],
        memory: Float[Tensor, "M S D"] | None = None,
        memory_mask: Bool[Tensor, "M S"] | None = None,
        cache: dict | None = None,
        documents: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        if self.output is None or (memory is None) != (self.decoder is None):
            return super().decode(tokens, memory, memory_mask, cache, documents)
        if documents is not None:
            raise NotImplementedError(f"{type(self).__name__} reads on from text to text.")
        cache = {} if cache is None else cache
        if self.decoder is not None and memory is not None:
            mask = memory.new_ones(memory.shape[:2], dtype=torch.bool) if memory_mask is None else memory_mask
            return self.decoder(self.embed(tokens, cache), memory, mask, cache)
        states, cache["state"] = self.stack(self.embed(tokens, cache), cache.get("state"))
        return states

    def logits(self, states: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        return super().logits(states) if self.output is None else self.output(states)

    def pool(self, states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        if self.attention is not None:
            return self.attention(states, mask)
        if self.pooling == "last":
            return last_states(states, mask, self.bidirectional)
        return super().pool(states, mask)

    def embed(
        self, tokens: Int[Tensor, "B T"], cache: dict, table: TokenEmbedding | None = None
    ) -> Float[Tensor, "B T E"]:
        """Vectors of tokens; a cache remembers as many that came before as n-grams reach back."""
        x = (table or self.embedding)(tokens)
        if self.ngrams is not None:
            before = cache.get("tokens", tokens[:, :0])
            known = torch.cat((before, tokens), dim=1)
            cache["tokens"] = known[:, max(0, known.shape[1] + 1 - max(self.ngrams.orders)) :]
            x = x + self.ngrams(known)[:, before.shape[1] :]
        return self.dropout(x)


def output_layer(embedding: TokenEmbedding, d_model: int, tie_weights: bool) -> nn.Module:
    """Logits from states, by the embeddings' own weights if tied."""
    vocab_size, width = embedding.weight.shape
    nn.init.normal_(embedding.weight, std=HEARD)
    output = Linear(width, vocab_size)
    nn.init.normal_(output.weight, std=0.02)
    nn.init.zeros_(output.bias)
    if tie_weights:
        output.weight = embedding.weight  # type: ignore[assignment]
    return output if width == d_model else nn.Sequential(Linear(d_model, width), output)


class RecurrentModule(LanguageModule):
    """Truncated back-propagation through time (Mikolov et al., 2010; Merity et al., 2018): where the corpus lays its
    blocks in lanes, each batch starts from the states in which the one before it ended, and the gradient stops there.
    Evaluated blocks start from nothing, as every family's do: their scores depend on no other (RELIABILITY, G13).

    A checkpoint holds the states of a whole global batch in the order of its rows, so any number of processes can go
    on from it.
    """

    def __init__(self, network: Recurrent, task: Task, *, ngram_min_count: PositiveInt = 4, **parts: Any) -> None:
        super().__init__(network, task, **parts)
        self.ngram_min_count = ngram_min_count
        self.states: dict[int, Tensor] = {}  # by micro-batch of an optimizer step
        self.loaded: Tensor | None = None  # of a global batch, from a checkpoint

    def on_fit_start(self) -> None:
        corpus: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        ngrams = self.network.ngrams
        if ngrams is not None and not ngrams.learned and self.trainer.ckpt_path is None:
            ngrams.learn(corpus.training_tokens(), self.ngram_min_count)
        if self.loaded is not None:
            n_ranks, n_parts = self.trainer.world_size, self.trainer.accumulate_grad_batches
            for micro in range(n_parts):
                self.states[micro] = self.loaded[self.global_rank + n_ranks * micro :: n_ranks * n_parts]
            self.loaded = None

    def training_step(self, batch: Mapping[str, Tensor], index: int) -> Tensor:
        step, micro = divmod(index, self.trainer.accumulate_grad_batches)
        for number, layer in enumerate(part for part in self.network.modules() if isinstance(part, RecurrentLayer)):
            layer.seed = mixed(self.seed, self.trainer.current_epoch, step, number)  # all ranks drop the same weights
        if not self.trainer.datamodule.lanes or self.network.decoder is not None:  # type: ignore[attr-defined]
            return super().training_step(batch, index)
        before = None if step == 0 else self.states.get(micro)
        cache: dict[str, Any] = {} if before is None else {"state": before.to(self.device)}
        continued: dict[str, Any] = {**batch, "cache": cache}
        loss = super().training_step(continued, index)
        if "state" in cache:  # an encoder keeps none
            self.states[micro] = cache["state"].detach()
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        own = [self.states[micro] for micro in sorted(self.states)]
        if own:
            mine = torch.stack(own).to(self.device)  # (micro-batches, rows, ...)
            whole = self.all_gather(mine).reshape(self.trainer.world_size, *mine.shape)
            checkpoint[STATE] = whole.permute(2, 1, 0, 3, 4, 5).flatten(0, 2).cpu()  # (global rows, ...)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.loaded = checkpoint.get(STATE)

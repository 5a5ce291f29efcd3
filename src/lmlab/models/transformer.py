"""The Transformer (Vaswani et al., 2017): encoder, decoder or both, built as the task needs."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlab.errors import ConfigError
from lmlab.module import LanguageModule
from lmlab.nn.attention import key_mask, same_document
from lmlab.nn.embeddings import NgramEmbedding, TokenEmbedding
from lmlab.nn.linear import Linear
from lmlab.nn.network import Network
from lmlab.nn.noise import Dropout
from lmlab.nn.positions import LearnedPositions, RotaryPositions, SinusoidalPositions
from lmlab.nn.transformer import TransformerStack
from lmlab.ranges import Fraction, PositiveInt
from lmlab.tasks.task import Task


class Transformer(Network):
    """Embeddings, positions, a stack of layers for each side the task asks for, and tied output weights.

    Layers are pre-norm; `post_norm` is as first published. `scale_embeddings` makes vectors of tokens as large as the
    sinusoids that are added to them (section 3.4): without it these drown them. With both an encoder and a decoder,
    each has a table of its own with `separate_embeddings`. An encoder scores the vocabulary with
    `masked_head` alone.
    """

    may_begin_anew: tuple[str, ...] = ("output.", "ngrams.")
    is_one_graph = True

    def __init__(
        self,
        vocab_size: PositiveInt,
        d_model: PositiveInt,
        *,
        architecture: Literal["encoder", "decoder", "encoder-decoder"],
        max_length: PositiveInt,
        n_heads: PositiveInt = 4,
        n_kv_heads: PositiveInt | None = None,
        n_layers: PositiveInt = 2,
        d_ff: PositiveInt = 512,
        positions: Literal["learned", "sinusoidal", "rotary"] = "learned",
        norm: Literal["layer", "rms"] = "layer",
        activation: Literal["relu", "gelu", "gelu_tanh", "swiglu"] = "gelu",
        post_norm: bool = False,
        dropout: Fraction = 0.1,
        attention_dropout: Fraction = 0.0,
        token_dropout: Fraction = 0.0,
        ngram_orders: Sequence[PositiveInt] = (),
        ngram_rows: PositiveInt = 100_000,
        ngram_dropout: Fraction = 0.5,
        tie_weights: bool = True,
        separate_embeddings: bool = False,
        scale_embeddings: bool = False,
        masked_head: bool = False,
    ) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ConfigError(f"d_model {d_model} is not divisible by n_heads {n_heads}", "model.network")
        if n_heads % (n_kv_heads or n_heads):
            raise ConfigError(f"n_heads {n_heads} is not divisible by n_kv_heads {n_kv_heads}", "model.network")
        self.context = max_length
        self.embedding = TokenEmbedding(vocab_size, d_model, token_dropout=token_dropout)
        self.source_embedding = None
        if architecture == "encoder-decoder" and separate_embeddings:
            self.source_embedding = TokenEmbedding(vocab_size, d_model, token_dropout=token_dropout)
        self.scale = d_model**0.5 if scale_embeddings else None
        self.ngrams = None
        if ngram_orders:
            self.ngrams = NgramEmbedding(vocab_size, d_model, ngram_orders, ngram_rows, dropout=ngram_dropout)
        self.rewinds = self.ngrams is None  # they also remember tokens
        self.positions: nn.Module = nn.Identity()
        if positions != "rotary":
            self.positions = {"learned": LearnedPositions, "sinusoidal": SinusoidalPositions}[positions](
                max_length, d_model
            )
        self.dropout = Dropout(dropout)

        def stack(**side: bool) -> TransformerStack:
            rotary = RotaryPositions(max_length, d_model // n_heads) if positions == "rotary" else None
            return TransformerStack(
                n_layers,
                d_model,
                n_heads,
                d_ff=d_ff,
                dropout=dropout,
                attention_dropout=attention_dropout,
                n_kv_heads=n_kv_heads,
                rotary=rotary,
                norm=norm,
                post_norm=post_norm,
                activation=activation,
                **side,
            )

        self.alignments = architecture == "encoder-decoder"
        if self.alignments:
            self.may_begin_anew = (*self.may_begin_anew, "decoder.")  # the weights of an encoder are enough
        self.encoder = stack() if architecture != "decoder" else None
        self.decoder = stack(causal=True, cross=architecture != "decoder") if architecture != "encoder" else None
        self.output = None
        if architecture != "encoder" or masked_head:
            self.output = Linear(d_model, vocab_size, bias=False)
            if tie_weights:
                self.output.weight = self.embedding.weight
        self.apply(initialize)
        if self.scale is not None:
            for table in filter(None, (self.embedding, self.source_embedding)):
                nn.init.normal_(table.weight, std=1 / self.scale)  # of deviation 1 once they are scaled

    def encode(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T D"]:
        if self.encoder is None:
            return super().encode(tokens, mask)
        return self.encoder(self.embed(tokens, table=self.source_embedding), key_mask(mask))

    def decode(
        self,
        tokens: Int[Tensor, "B T"],
        memory: Float[Tensor, "M S D"] | None = None,
        memory_mask: Bool[Tensor, "M S"] | None = None,
        cache: dict | None = None,
        documents: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        if self.decoder is None:
            return super().decode(tokens, memory, memory_mask, cache, documents)
        x = self.embed(tokens, cache)
        return self.decoder(x, same_document(documents), memory=memory, memory_mask=key_mask(memory_mask), cache=cache)

    def logits(self, states: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        return super().logits(states) if self.output is None else self.output(states)

    def embed(
        self, tokens: Int[Tensor, "B T"], cache: dict | None = None, table: TokenEmbedding | None = None
    ) -> Float[Tensor, "B T D"]:
        """Vectors of tokens at their positions; a cache remembers how many came before, and the last ones."""
        length, start = tokens.shape[1], 0
        x = (table or self.embedding)(tokens)
        x = x if self.scale is None else x * self.scale
        if cache is not None:
            start = cache.get("length", 0)
            cache["length"] = start + length
        if self.ngrams is not None:
            if cache is not None:
                tokens = torch.cat((cache["tokens"], tokens), dim=1) if start else tokens
                cache["tokens"] = tokens[:, max(0, tokens.shape[1] - max(self.ngrams.orders) + 1) :]
            x = x + self.ngrams(tokens)[:, -length:]
        x = x if isinstance(self.positions, nn.Identity) else self.positions(x, start)
        return self.dropout(x)


class TransformerModule(LanguageModule):
    """Training of a Transformer: its n-gram vocabulary, if it has one, is counted before the first step."""

    def __init__(self, network: Transformer, task: Task, *, ngram_min_count: PositiveInt = 4, **parts: Any) -> None:
        super().__init__(network, task, **parts)
        self.ngram_min_count = ngram_min_count

    def on_fit_start(self) -> None:
        ngrams = self.network.ngrams
        if ngrams is not None and not ngrams.learned and self.trainer.ckpt_path is None:
            corpus = self.trainer.datamodule  # type: ignore[attr-defined]
            ngrams.learn(corpus.training_tokens(), self.ngram_min_count)


def initialize(module: nn.Module) -> None:
    """Normal weights of deviation 0.02 and zero biases, as GPT-2 and BERT begin."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

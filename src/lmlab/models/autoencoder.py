"""Autoencoders of texts: one that tells a text from a noisy copy of it, and the network of a variational one."""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlab.errors import ConfigError
from lmlab.models.rnn import HEARD
from lmlab.models.transformer import initialize
from lmlab.nn.corruption import Corruption, blank
from lmlab.nn.embeddings import TokenEmbedding
from lmlab.nn.linear import Linear
from lmlab.nn.network import Network
from lmlab.nn.noise import Dropout
from lmlab.nn.text_code import RecurrentReader, RecurrentWriter, TransformerReader, TransformerWriter
from lmlab.ranges import Fraction, NonNegativeInt, PositiveInt

Layers = Literal["rnn", "lstm", "gru", "transformer"]


class Autoencoder(Network):
    """An encoder that reads a text into a code of `d_latent` numbers, and a decoder that writes the text from it.

    The code is a `point` of the text (Hill et al., 2016), or `gaussian`: drawn around its mean, by a variance that the
    text tells too (Kingma and Welling, 2014; Bowman et al., 2016). In training the encoder reads a noisy copy
    (`deletion`, `blanking`, `shuffle`) and the decoder does not see some of the words before (`word_dropout`). As an
    encoder alone its vector of a text is the code's mean. `d_latent` 0 leaves a language model, the decoder by itself.
    """

    may_begin_anew = ("writer.", "output.", "log_variance.")

    def __init__(
        self,
        vocab_size: PositiveInt,
        d_model: PositiveInt,
        *,
        architecture: Literal["autoencoder", "encoder"],
        max_length: PositiveInt,
        code: Literal["point", "gaussian"] = "point",
        d_latent: NonNegativeInt = 32,
        encoder: Layers = "gru",
        decoder: Layers = "gru",
        n_layers: PositiveInt = 1,
        n_heads: PositiveInt = 2,
        d_ff: PositiveInt = 256,
        dropout: Fraction = 0.2,
        word_dropout: Fraction = 0.0,
        deletion: Fraction = 0.0,
        blanking: Fraction = 0.0,
        shuffle: NonNegativeInt = 0,
        tie_weights: bool = True,
    ) -> None:
        super().__init__()
        writes, transformers = architecture == "autoencoder", "transformer" in (encoder, decoder)
        if not writes and not d_latent:
            fix = "It is for a language model to compare with; set it to 1 or more"
            raise ConfigError("a code of no units tells nothing of a text", "model.network.d_latent=0", fix)
        if transformers and d_model % n_heads:
            raise ConfigError(f"d_model {d_model} is not divisible by n_heads {n_heads}", "model.network")
        if encoder != "transformer" and d_model % 2:
            raise ConfigError(f"d_model {d_model} cannot be halved between two directions", "model.network")
        self.d_latent, self.has_prior = d_latent, writes and code == "gaussian"
        self.context = max_length if writes and decoder == "transformer" else None
        self.rewinds = decoder == "transformer"
        self.embedding = TokenEmbedding(vocab_size, d_model, token_dropout=word_dropout)
        nn.init.normal_(self.embedding.weight, std=0.02 if transformers else HEARD)
        self.corruption = Corruption(deletion=deletion, blanking=blanking, shuffle=shuffle)
        self.dropout = Dropout(dropout)
        of_transformer = {"max_length": max_length, "n_heads": n_heads, "d_ff": d_ff, "dropout": dropout}
        self.reader: Any = reader(encoder, n_layers, d_model, of_transformer) if d_latent else None
        self.mean: Any = Linear(d_model, d_latent) if d_latent else None
        self.log_variance = Linear(d_model, d_latent) if d_latent and self.has_prior else None
        self.writer, self.output = None, None
        if writes:
            self.writer = writer(decoder, n_layers, d_model, d_latent, of_transformer)
            self.output = Linear(d_model, vocab_size)
            nn.init.normal_(self.output.weight, std=0.02)
            nn.init.zeros_(self.output.bias)
            if tie_weights:
                self.output.weight = self.embedding.weight  # type: ignore[assignment]

    def encode(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T D"]:
        if self.reader is None:
            return super().encode(tokens, mask)
        return self.reader(self.dropout(self.embedding.table(tokens)), mask)

    def pool(self, states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B Z"]:
        return self.mean(self.reader.pool(states, mask))

    def vector(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B Z"]:
        return self.mean(self.summary(tokens, mask))

    def summary(self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        """One vector of what is read of each text."""
        read = self.corruption(tokens, mask)
        x = self.dropout(blank(self.embedding.table(read.tokens), read.blanked))
        return self.reader.pool(self.reader(x, read.mask), read.mask)

    def posterior(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B Z"], Float[Tensor, "B Z"] | None]:
        if self.mean is None:
            return torch.zeros(len(tokens), 0, device=tokens.device), None
        summary = self.summary(tokens, mask)
        mean = self.mean(summary).float()
        return mean, None if self.log_variance is None else self.log_variance(summary).float()

    def prior(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n 1 Z"]:
        if not self.has_prior:
            return super().prior(n, generator)
        return torch.randn(n, 1, self.d_latent, generator=generator, device=self.embedding.weight.device)

    def decode(
        self,
        tokens: Int[Tensor, "B T"],
        memory: Float[Tensor, "M 1 Z"] | None = None,
        memory_mask: Bool[Tensor, "M S"] | None = None,
        cache: dict | None = None,
        documents: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        if self.writer is None or memory is None or documents is not None:
            return super().decode(tokens, memory, memory_mask, cache, documents)
        codes = memory.squeeze(1).repeat_interleave(len(tokens) // len(memory), dim=0)
        return self.writer(self.dropout(self.embedding(tokens)), codes, cache)

    def logits(self, states: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        return super().logits(states) if self.output is None else self.output(states)


def reader(layers: str, n_layers: int, d_model: int, of_transformer: dict[str, Any]) -> nn.Module:
    if layers != "transformer":
        return RecurrentReader(layers, n_layers, d_model, dropout=of_transformer["dropout"])
    return TransformerReader(n_layers, d_model, **of_transformer).apply(initialize)


def writer(layers: str, n_layers: int, d_model: int, d_latent: int, of_transformer: dict[str, Any]) -> nn.Module:
    if layers != "transformer":
        return RecurrentWriter(layers, n_layers, d_model, d_latent=d_latent, dropout=of_transformer["dropout"])
    return TransformerWriter(n_layers, d_model, d_latent=d_latent, **of_transformer).apply(initialize)

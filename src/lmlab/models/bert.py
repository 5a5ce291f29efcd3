"""BERT (Devlin et al., 2019) and RoBERTa (Liu et al., 2019): a post-norm Transformer encoder that reads both ways."""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlab.errors import ConfigError
from lmlab.nn.attention import key_mask
from lmlab.nn.embeddings import TokenEmbedding
from lmlab.nn.linear import Linear, linear
from lmlab.nn.network import Network
from lmlab.nn.noise import Dropout
from lmlab.nn.positions import LearnedPositions
from lmlab.nn.renaming import Renaming
from lmlab.nn.transformer import TransformerStack
from lmlab.ranges import Fraction, NonNegativeInt, PositiveFloat, PositiveInt

LAYER = "encoder.layers.*"
BODY: dict[str, str | tuple[str, ...]] = {
    "embedding.table": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "segments": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
    f"{LAYER}.attention.qkv": tuple(f"encoder.layer.*.attention.self.{part}" for part in ("query", "key", "value")),
    f"{LAYER}.attention.output": "encoder.layer.*.attention.output.dense",
    f"{LAYER}.norm_attention": "encoder.layer.*.attention.output.LayerNorm",
    f"{LAYER}.feed_forward.0": "encoder.layer.*.intermediate.dense",
    f"{LAYER}.feed_forward.2": "encoder.layer.*.output.dense",
    f"{LAYER}.norm_feed_forward": "encoder.layer.*.output.LayerNorm",
    "pooler": "pooler.dense",
}
BERT = Renaming(
    BODY
    | {
        "output.dense": "cls.predictions.transform.dense",
        "output.norm": "cls.predictions.transform.LayerNorm",
        "output": "cls.predictions",
    },
    prefix="bert",
    heads=("pooler.", "cls.", "classifier.", "qa_outputs."),
)
ROBERTA = Renaming(
    BODY | {"output.dense": "lm_head.dense", "output.norm": "lm_head.layer_norm", "output": "lm_head"},
    prefix="roberta",
    heads=("pooler.", "lm_head.", "classifier.", "qa_outputs."),
)


class Bert(Network):
    """Learned positions and segments, normed after each sum, and a vector of the text at its first token.

    RoBERTa differs by `first_position` 2 and one segment. With `masked_head` it scores the vocabulary at each token. An
    encoder-decoder has a decoder of `decoder_layers` layers and the same embeddings beside it, which no published
    weights hold: only the encoder is pretrained (Rothe et al., 2020, BERT2RND).
    """

    may_begin_anew: tuple[str, ...] = ("pooler.", "output.")
    is_one_graph = True

    def __init__(
        self,
        vocab_size: PositiveInt,
        d_model: PositiveInt = 768,
        *,
        architecture: Literal["encoder", "encoder-decoder"] = "encoder",
        decoder_layers: PositiveInt = 2,
        n_heads: PositiveInt = 12,
        n_layers: PositiveInt = 12,
        d_ff: PositiveInt = 3072,
        max_positions: PositiveInt = 512,
        first_position: NonNegativeInt = 0,
        n_segments: PositiveInt = 2,
        norm_eps: PositiveFloat = 1e-12,
        dropout: Fraction = 0.1,
        attention_dropout: Fraction = 0.0,
        pooling: Literal["pooler", "first", "mean"] = "pooler",
        masked_head: bool = False,
        max_length: PositiveInt | None = None,
    ) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ConfigError(f"d_model {d_model} is not divisible by n_heads {n_heads}", "model.network")
        self.context = max_positions - first_position
        if max_length and max_length > self.context:
            raise ConfigError(
                f"texts of {max_length} tokens, and positions for {self.context}",
                "data.max_length",
                f"Set it to {self.context} or less, or model.network.max_positions={max_length + first_position}",
            )
        self.published = ROBERTA if first_position else BERT
        self.first_position, self.pooling, self.norm_eps = first_position, pooling, norm_eps
        self.embedding = TokenEmbedding(vocab_size, d_model)
        self.positions = LearnedPositions(max_positions, d_model)
        self.segments = nn.Embedding(n_segments, d_model)
        self.norm = nn.LayerNorm(d_model, eps=norm_eps)
        self.dropout = Dropout(dropout)
        sizes: dict[str, Any] = {"d_ff": d_ff, "dropout": dropout, "attention_dropout": attention_dropout}
        sizes |= {"norm_eps": norm_eps, "post_norm": True}
        self.encoder = TransformerStack(n_layers, d_model, n_heads, **sizes)
        self.alignments = architecture == "encoder-decoder"
        self.decoder = None
        if self.alignments:
            self.decoder = TransformerStack(decoder_layers, d_model, n_heads, causal=True, cross=True, **sizes)
            self.may_begin_anew = (*self.may_begin_anew, "decoder.")
        vocabulary = masked_head or self.alignments
        self.pooler = Linear(d_model, d_model) if pooling == "pooler" and not vocabulary else None
        self.output = MaskedHead(vocab_size, d_model, norm_eps) if vocabulary else None
        self.apply(initialize)

    def encode(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T D"]:
        return self.encoder(self.embed(tokens, segments), key_mask(mask))

    def vector(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B D"]:
        if self.pooling == "mean":
            return super().vector(tokens, mask, segments)
        first = torch.zeros(tokens.shape[0], dtype=torch.long, device=tokens.device)
        return self.pool(self.encoder(self.embed(tokens, segments), key_mask(mask), at=first), mask[:, :1])

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
        start = 0 if cache is None else cache.get("length", 0)
        if cache is not None:
            cache["length"] = start + tokens.shape[1]
        x = self.embed(tokens, None, start)
        return self.decoder(x, memory=memory, memory_mask=key_mask(memory_mask), cache=cache)

    def embed(
        self, tokens: Int[Tensor, "B T"], segments: Int[Tensor, "B T"] | None, start: int = 0
    ) -> Float[Tensor, "B T D"]:
        several = segments is not None and self.segments.num_embeddings > 1
        x = self.embedding(tokens) + (self.segments(segments) if several else self.segments.weight[0])
        return self.dropout(self.norm(self.positions(x, self.first_position + start)))

    def logits(self, states: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        return super().logits(states) if self.output is None else self.output(states, self.embedding.weight)

    def pool(self, states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        if self.pooling == "mean":
            return super().pool(states, mask)
        return states[:, 0] if self.pooler is None else self.pooler(states[:, 0]).tanh()

    def config(self) -> dict[str, Any]:
        first: Any = self.encoder.layers[0]
        kind = "roberta" if self.published is ROBERTA else "bert"
        return {
            "model_type": kind,
            "vocab_size": self.embedding.table.num_embeddings,
            "hidden_size": self.embedding.table.embedding_dim,
            "num_hidden_layers": len(self.encoder.layers),
            "num_attention_heads": first.attention.n_heads,
            "intermediate_size": first.feed_forward[0].out_features,
            "max_position_embeddings": len(self.positions.weight),
            "type_vocab_size": self.segments.num_embeddings,
            "layer_norm_eps": self.norm_eps,
            "hidden_act": "gelu",
        }


class MaskedHead(nn.Module):
    """A last map and norm, then the embedding as output weights (Devlin et al., 2019, as released)."""

    def __init__(self, vocab_size: int, d_model: int, norm_eps: float) -> None:
        super().__init__()
        self.dense = Linear(d_model, d_model)
        self.norm = nn.LayerNorm(d_model, eps=norm_eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, x: Float[Tensor, "*B D"], embedding: Float[Tensor, "V D"]) -> Float[Tensor, "*B V"]:
        return linear(self.norm(nn.functional.gelu(self.dense(x))), embedding, self.bias)


def initialize(module: nn.Module) -> None:
    """Normal weights of deviation 0.02 and zero biases."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)

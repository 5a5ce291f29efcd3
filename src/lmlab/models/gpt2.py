"""GPT-2 (Radford et al., 2019): a Transformer decoder that reads what it has written."""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlab.errors import ConfigError
from lmlab.nn.attention import same_document, token_at
from lmlab.nn.embeddings import TokenEmbedding
from lmlab.nn.linear import linear
from lmlab.nn.network import Network
from lmlab.nn.noise import Dropout
from lmlab.nn.positions import LearnedPositions
from lmlab.nn.renaming import Renaming
from lmlab.nn.transformer import TransformerStack
from lmlab.ranges import Fraction, PositiveInt

LAYER = "decoder.layers.*"
PUBLISHED = Renaming(
    {
        "embedding.table": "wte",
        "positions": "wpe",
        "decoder.norm": "ln_f",
        f"{LAYER}.norm_attention": "h.*.ln_1",
        f"{LAYER}.norm_feed_forward": "h.*.ln_2",
        f"{LAYER}.attention.qkv": "h.*.attn.c_attn",
        f"{LAYER}.attention.output": "h.*.attn.c_proj",
        f"{LAYER}.feed_forward.0": "h.*.mlp.c_fc",
        f"{LAYER}.feed_forward.2": "h.*.mlp.c_proj",
    },
    prefix="transformer",
    heads=("lm_head.", "score."),
    transposed=[
        f"{LAYER}.{part}" for part in ("attention.qkv", "attention.output", "feed_forward.0", "feed_forward.2")
    ],
)


class GPT2(Network):
    """Learned positions, pre-norm layers with the tanh form of GELU, output weights tied to the embedding.

    Reading a text is the same causal pass as writing one, and a text's vector is the state of its last token.
    """

    rewinds = True
    is_one_graph = True
    published = PUBLISHED

    def __init__(
        self,
        vocab_size: PositiveInt,
        d_model: PositiveInt = 768,
        *,
        max_length: PositiveInt = 1024,
        n_heads: PositiveInt = 12,
        n_layers: PositiveInt = 12,
        dropout: Fraction = 0.1,
        attention_dropout: Fraction = 0.1,
    ) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ConfigError(f"d_model {d_model} is not divisible by n_heads {n_heads}", "model.network")
        self.context = max_length
        self.embedding = TokenEmbedding(vocab_size, d_model)
        self.positions = LearnedPositions(max_length, d_model)
        self.dropout = Dropout(dropout)
        self.decoder = TransformerStack(
            n_layers,
            d_model,
            n_heads,
            d_ff=4 * d_model,
            dropout=dropout,
            attention_dropout=attention_dropout,
            activation="gelu_tanh",
            causal=True,
        )
        self.initialize(n_layers)

    @torch.no_grad()
    def initialize(self, n_layers: int) -> None:
        """Normal weights of deviation 0.02; those that write into the residual stream 0.02 / sqrt(2 n_layers)."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                into_stream = name.endswith(("attention.output.weight", "feed_forward.2.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * n_layers) if into_stream else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def encode(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B T D"]:
        return self.decode(tokens)  # padding stands to the right: no real token looks at it

    def vector(
        self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"] | None = None
    ) -> Float[Tensor, "B D"]:
        x = self.dropout(self.positions(self.embedding(tokens), 0))
        return self.decoder(x, at=last_token(mask)).squeeze(1)

    def decode(
        self,
        tokens: Int[Tensor, "B T"],
        memory: Float[Tensor, "B S D"] | None = None,
        memory_mask: Bool[Tensor, "B S"] | None = None,
        cache: dict | None = None,
        documents: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        start = 0 if cache is None else cache.get("length", 0)
        if cache is not None:
            cache["length"] = start + tokens.shape[1]
        x = self.dropout(self.positions(self.embedding(tokens), start))
        return self.decoder(x, same_document(documents), cache=cache)

    def logits(self, states: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        return linear(states, self.embedding.weight)

    def pool(self, states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        return token_at(states, last_token(mask)).squeeze(1)

    def config(self) -> dict[str, Any]:
        return {
            "model_type": "gpt2",
            "vocab_size": self.embedding.table.num_embeddings,
            "n_embd": self.embedding.table.embedding_dim,
            "n_layer": len(self.decoder.layers),
            "n_head": self.decoder.layers[0].attention.n_heads,
            "n_positions": len(self.positions.weight),
            "activation_function": "gelu_new",
        }


def last_token(mask: Bool[Tensor, "B T"]) -> Int[Tensor, "B"]:
    """Where each text's last token stands."""
    return (mask.sum(1) - 1).clamp(min=0)

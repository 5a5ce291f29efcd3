"""The Transformer layer and a stack of them: encoder, decoder and both are the same layers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlab.nn.attention import CrossAttention, SelfAttention, token_at
from lmlab.nn.linear import Linear, StackedLinear
from lmlab.nn.noise import Dropout
from lmlab.nn.positions import RotaryPositions
from lmlab.nn.recomputation import recomputed


class FeedForward(nn.Sequential):
    """Two linear maps with an activation between, at each position (Vaswani et al., 2017, section 3.3)."""

    def __init__(self, d_model: int, d_ff: int, *, activation: Callable[[], nn.Module] = nn.GELU) -> None:
        super().__init__(Linear(d_model, d_ff), activation(), Linear(d_ff, d_model))


class SwiGLU(nn.Module):
    """Two linear maps with a gate between, at each position (Shazeer, 2020); as wide as costs what `d_ff` costs."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        width = max(8, 2 * d_ff // 3)
        self.gated = StackedLinear(d_model, width, 2, bias=False)
        self.output = Linear(width, d_model, bias=False)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        gate, value = self.gated(x).chunk(2, dim=-1)
        return self.output(nn.functional.silu(gate) * value)


NORMS: dict[str, Callable[..., nn.Module]] = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}
FEED_FORWARDS: dict[str, Callable[[int, int], nn.Module]] = {
    "relu": partial(FeedForward, activation=nn.ReLU),
    "gelu": FeedForward,
    "gelu_tanh": partial(FeedForward, activation=partial(nn.GELU, "tanh")),
    "swiglu": SwiGLU,
}


class TransformerLayer(nn.Module):
    """Self-attention, attention to a memory if asked, feed-forward: each on normed states, added to them.

    With `post_norm`, as first published, each is on the states themselves, and the sum is normed.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        d_ff: int,
        dropout: float,
        attention_dropout: float,
        n_kv_heads: int | None,
        rotary: RotaryPositions | None,
        norm: str,
        norm_eps: float,
        post_norm: bool,
        activation: str,
        cross: bool,
    ) -> None:
        super().__init__()
        self.post_norm = post_norm
        self.norm_attention = NORMS[norm](d_model, eps=norm_eps)
        self.attention = SelfAttention(
            d_model, n_heads, n_kv_heads=n_kv_heads, dropout=attention_dropout, rotary=rotary
        )
        if cross:
            self.norm_cross = NORMS[norm](d_model, eps=norm_eps)
            self.cross = CrossAttention(d_model, n_heads, dropout=attention_dropout)
        self.norm_feed_forward = NORMS[norm](d_model, eps=norm_eps)
        self.feed_forward = FEED_FORWARDS[activation](d_model, d_ff)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Bool[Tensor, "B 1 #T T"] | None = None,
        *,
        causal: bool = False,
        memory: Float[Tensor, "M S D"] | None = None,
        memory_mask: Bool[Tensor, "M 1 1 S"] | None = None,
        cache: dict | None = None,
        at: Int[Tensor, "B"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """States after the layer; with `at`, of the token at this place of each row alone, and nothing else is done."""
        own = x if at is None else token_at(x, at)
        if self.post_norm:
            x = self.norm_attention(own + self.dropout(self.attention(x, mask, causal, cache, at)))
            if memory is not None:
                x = self.norm_cross(x + self.dropout(self.cross(x, memory, memory_mask, cache)))
            return self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))
        x = own + self.dropout(self.attention(self.norm_attention(x), mask, causal, cache, at))
        if memory is not None:
            x = x + self.dropout(self.cross(self.norm_cross(x), memory, memory_mask, cache))
        return x + self.dropout(self.feed_forward(self.norm_feed_forward(x)))


class TransformerStack(nn.Module):
    """n layers and, but for post-norm, a last norm: pre-norm trains without warm-up tricks (Xiong et al., 2020)."""

    def __init__(
        self,
        n_layers: int,
        d_model: int,
        n_heads: int,
        *,
        d_ff: int,
        dropout: float,
        attention_dropout: float = 0.0,
        n_kv_heads: int | None = None,
        rotary: RotaryPositions | None = None,
        norm: str = "layer",
        norm_eps: float = 1e-5,
        post_norm: bool = False,
        activation: str = "gelu",
        causal: bool = False,
        cross: bool = False,
    ) -> None:
        super().__init__()
        self.causal, self.recomputes = causal, False  # whether activations are computed twice instead of kept
        self.layers = nn.ModuleList(
            TransformerLayer(
                d_model,
                n_heads,
                d_ff=d_ff,
                dropout=dropout,
                attention_dropout=attention_dropout,
                n_kv_heads=n_kv_heads,
                rotary=rotary,
                norm=norm,
                norm_eps=norm_eps,
                post_norm=post_norm,
                activation=activation,
                cross=cross,
            )
            for _ in range(n_layers)
        )
        self.norm = nn.Identity() if post_norm else NORMS[norm](d_model, eps=norm_eps)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Bool[Tensor, "B 1 #T T"] | None = None,
        memory: Float[Tensor, "M S D"] | None = None,
        memory_mask: Bool[Tensor, "M 1 1 S"] | None = None,
        cache: dict | None = None,
        at: Int[Tensor, "B"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """States of all tokens, or of the one at this place of each row, for which the last layer does less.

        Where the cache has the key "alignment", it is that of the last layer.
        """
        kept: dict | None = None
        for number, layer in enumerate(self.layers):
            last = number == len(self.layers) - 1
            options: dict[str, Any] = {
                "at": at if last else None,
                "causal": self.causal,
                "memory": memory,
                "memory_mask": memory_mask,
            }
            if cache is not None:
                kept = cache.setdefault(number, {})
                if last and "alignment" in cache:
                    kept["alignment"] = None
            if self.recomputes and self.training and torch.is_grad_enabled() and cache is None:
                x = recomputed(layer, x, mask, **options)
            else:
                x = layer(x, mask, cache=kept, **options)
        if kept is not None and cache is not None and "alignment" in kept:
            cache["alignment"] = kept.pop("alignment")
        return self.norm(x)

"""Multi-head attention, of a text to itself and of one text to another."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmlab.nn.linear import Linear, StackedLinear
from lmlab.nn.noise import KeyDropout
from lmlab.nn.positions import RotaryPositions


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al., 2017, section 3.2.2).

    With fewer `n_kv_heads` than heads, groups of queries share a key and a value (Ainslie et al., 2023), and a cache
    holds only those.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        n_kv_heads: int | None = None,
        dropout: float = 0.0,
        rotary: RotaryPositions | None = None,
    ) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads or n_heads
        self.dropout, self.rotary = dropped(dropout), rotary
        groups = n_heads // self.n_kv_heads
        self.qkv = StackedLinear(d_model, d_model // groups, groups + 2)
        self.output = Linear(d_model, d_model)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Bool[Tensor, "B 1 #T S"] | None = None,
        causal: bool = False,
        cache: dict | None = None,
        at: Int[Tensor, "B"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """What each token gathers from all that it may see; with `at`, the token at this place of each row alone."""
        heads = self.qkv(x).unflatten(-1, (self.n_heads + 2 * self.n_kv_heads, -1)).transpose(1, 2)  # (B, H, T, d)
        query, key, value = heads.split((self.n_heads, self.n_kv_heads, self.n_kv_heads), dim=1)
        start = cache.get("length", 0) if cache else 0
        if self.rotary is not None:
            query, key = self.rotary(query, start), self.rotary(key, start)
        if cache is not None:
            key, value = remembered(cache, "key", key), remembered(cache, "value", value)
            cache["length"] = key.shape[2]
        if at is not None:
            query = token_at(query.transpose(1, 2), at).transpose(1, 2)
            if causal:
                past = (torch.arange(key.shape[2], device=x.device) <= at[:, None])[:, None, None, :]
                mask, causal = past if mask is None else mask & past, False
        free = start == 0 and mask is None  # then nothing but the order masks, for which there are faster kernels
        if causal and not free and x.shape[1] > 1:
            past = torch.ones(x.shape[1], key.shape[2], dtype=torch.bool, device=x.device).tril(start)  # (T, S)
            mask = past if mask is None else mask & past
        attended = F.scaled_dot_product_attention(
            query,
            key,
            self.dropout(value),
            attn_mask=mask,
            is_causal=causal and free,
            enable_gqa=self.n_kv_heads != self.n_heads,
        )
        return self.output(merge_heads(attended))


class CrossAttention(nn.Module):
    """Attention of a decoder's states to an encoder's (Vaswani et al., 2017, section 3.2.3).

    Rows that stand together may share a memory, as the beams of a source do: they are so many more queries of it. A
    cache keeps the keys and values of memories and, if it has the key "alignment", the mean weights of the heads.
    """

    def __init__(self, d_model: int, n_heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropped(dropout)
        self.query = Linear(d_model, d_model)
        self.key_value = StackedLinear(d_model, d_model, 2)
        self.output = Linear(d_model, d_model)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "M S D"],
        mask: Bool[Tensor, "M 1 1 S"] | None = None,
        cache: dict | None = None,
    ) -> Float[Tensor, "B T D"]:
        cache = {} if cache is None else cache
        if "memory_key" not in cache:
            heads = (split_heads(part, self.n_heads) for part in self.key_value(memory).chunk(2, dim=-1))
            cache["memory_key"], cache["memory_value"] = heads
        query = split_heads(queries_of(self.query(x), len(memory)), self.n_heads)  # (M, H, K * T, d)
        value, weighed = self.dropout(cache["memory_value"]), "alignment" in cache
        attended, weights = gathered(query, cache["memory_key"], value, mask, weighed=weighed)
        if weights is not None:
            cache["alignment"] = weights.reshape(*x.shape[:2], -1)
        return self.output(merge_heads(attended).reshape_as(x))


def queries_of(x: Float[Tensor, "B T D"], n_memories: int) -> Float[Tensor, "M Q D"]:
    """The tokens of all rows that read a memory, one row after another."""
    return x.reshape(n_memories, -1, x.shape[-1])


def gathered(
    query: Float[Tensor, "M H Q d"],
    key: Float[Tensor, "M H S d"],
    value: Float[Tensor, "M H S d"],
    mask: Bool[Tensor, "M 1 1 S"] | None = None,
    *,
    scale: float | None = None,
    weighed: bool = False,
) -> tuple[Float[Tensor, "M H Q d"], Float[Tensor, "M Q S"] | None]:
    """What queries gather from a memory and, if `weighed`, the mean over heads of how much from where, which no fused
    kernel tells. Scores are divided by the root of the width unless there is a `scale`."""
    if not weighed:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale), None
    scores = (query @ key.mT).float() * (query.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(-1)  # (M, H, Q, S)
    return weights.to(value.dtype) @ value, weights.mean(1)


def dropped(p: float) -> nn.Module:
    """Dropout of attention; none is no source of noise, so that others' noise is what it is without."""
    return KeyDropout(p) if p else nn.Identity()


def remembered(cache: dict, name: str, new: Float[Tensor, "B H T d"]) -> Float[Tensor, "B H S d"]:
    """`new` after the `cache["length"]` keys or values that came before, in a buffer that doubles when it is full."""
    start = cache.get("length", 0)
    end = start + new.shape[2]
    if name not in cache or end > cache[name].shape[2]:
        buffer = new.new_empty(*new.shape[:2], 2 * end, new.shape[3])
        if start:
            buffer[:, :, :start] = cache[name][:, :, :start]
        cache[name] = buffer
    cache[name][:, :, start:end] = new
    return cache[name][:, :, :end]


def token_at(x: Float[Tensor, "B T *D"], at: Int[Tensor, "B"]) -> Float[Tensor, "B 1 *D"]:
    """Of each row what stands at its place."""
    return x[torch.arange(x.shape[0], device=x.device), at].unsqueeze(1)


def split_heads(x: Float[Tensor, "B T D"], n_heads: int) -> Float[Tensor, "B H T d"]:
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def merge_heads(x: Float[Tensor, "B H T d"]) -> Float[Tensor, "B T D"]:
    return x.transpose(1, 2).flatten(2)


def key_mask(mask: Bool[Tensor, "B S"] | None) -> Bool[Tensor, "B 1 1 S"] | None:
    """The mask attention takes: True where a key may be looked at; None if all may, which is faster.

    A graph of torch.compile may not depend on what a mask holds.
    """
    if mask is None or (mask.device.type == "cpu" and not torch.compiler.is_compiling() and bool(mask.all())):
        return None
    return mask[:, None, None, :]


def same_document(documents: Int[Tensor, "B T"] | None) -> Bool[Tensor, "B 1 T T"] | None:
    """The block-diagonal mask of texts packed one after another: True between tokens of one document."""
    return None if documents is None else (documents[:, :, None] == documents[:, None, :]).unsqueeze(1)

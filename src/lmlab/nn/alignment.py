"""How a recurrent decoder looks at a source: scores of its states with those of an encoder, and what they gather."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lmlab.nn.attention import gathered, queries_of
from lmlab.nn.linear import Linear


class GeneralAlignment(nn.Module):
    """Scores h W k, of all tokens at once (Luong et al., 2015, section 3.1: global attention, "general").

    A cache keeps the keys and, if it has the key "alignment", the weights. Rows may share a memory, as in
    `CrossAttention`.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.key = Linear(d_model, d_model, bias=False)

    def forward(
        self,
        states: Float[Tensor, "B T D"],
        memory: Float[Tensor, "M S D"],
        mask: Bool[Tensor, "M 1 1 S"] | None,
        cache: dict,
    ) -> Float[Tensor, "B T D"]:
        if "memory_key" not in cache:
            cache["memory_key"] = self.key(memory)
        query, key, value = (x.unsqueeze(1) for x in (queries_of(states, len(memory)), cache["memory_key"], memory))
        contexts, weights = gathered(query, key.to(query.dtype), value, mask, scale=1.0, weighed="alignment" in cache)
        if weights is not None:
            cache["alignment"] = weights.reshape(*states.shape[:2], -1)
        return contexts.reshape_as(states)


class AdditiveAlignment(nn.Module):
    """Scores v tanh(W s + U k), of one state a row (Bahdanau et al., 2015, appendix A.1.2).

    W s and U k are given: U k is the same at all steps, and the cell can compute W s along with its own maps of s.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, d_model)
        self.key = Linear(d_model, d_model, bias=False)
        self.score = nn.Linear(d_model, 1, bias=False)

    def forward(
        self,
        query: Float[Tensor, "B D"],
        key: Float[Tensor, "M S D"],
        memory: Float[Tensor, "M S D"],
        hidden: Bool[Tensor, "M 1 S"] | None,
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B S"]]:
        """The context of each row and the weights it is a sum by; `hidden` is True on padding."""
        queries = query.unflatten(0, (len(memory), -1)).unsqueeze(2)  # (M, K, 1, D)
        scores = self.score((queries + key.unsqueeze(1)).tanh()).squeeze(-1)  # (M, K, S)
        if hidden is not None:
            scores = scores.masked_fill(hidden, -torch.inf)
        weights = scores.softmax(-1)
        return (weights @ memory).flatten(0, 1), weights.flatten(0, 1)

"""From a text to one vector, and from a vector to a text: the two sides of an autoencoder."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lmlab.nn.attention import key_mask
from lmlab.nn.linear import Linear
from lmlab.nn.pooling import last_states
from lmlab.nn.positions import LearnedPositions
from lmlab.nn.recurrent import RecurrentStack
from lmlab.nn.transformer import TransformerStack


class RecurrentReader(nn.Module):
    """Layers that read both ways; a text is what they say last in each direction."""

    def __init__(self, cell: str, n_layers: int, d_model: int, *, dropout: float) -> None:
        super().__init__()
        self.stack = RecurrentStack(
            cell, n_layers, d_input=d_model, d_model=d_model, bidirectional=True, dropout=dropout
        )

    def forward(self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        return self.stack(x, lengths=mask.sum(1).clamp(min=1).cpu())[0]

    def pool(self, states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        return last_states(states, mask, bidirectional=True)


class TransformerReader(nn.Module):
    """Layers that read both ways; a text is the mean of its tokens' states."""

    def __init__(self, n_layers: int, d_model: int, *, max_length: int, **sizes: Any) -> None:
        super().__init__()
        self.positions = LearnedPositions(max_length, d_model)
        self.stack = TransformerStack(n_layers, d_model, **sizes)

    def forward(self, x: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        return self.stack(self.positions(x), key_mask(mask))

    def pool(self, states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        weight = mask.unsqueeze(-1).to(states.dtype)
        return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


class RecurrentWriter(nn.Module):
    """Layers from left to right whose first states are tanh(W z) and whose every input has the code z beside it
    (Bowman et al., 2016, section 3). With a code of no units it is a language model."""

    def __init__(self, cell: str, n_layers: int, d_model: int, *, d_latent: int, dropout: float) -> None:
        super().__init__()
        self.shape = (n_layers, 1 + (cell == "lstm"), d_model)
        self.first = Linear(d_latent, self.shape[0] * self.shape[1] * d_model) if d_latent else None
        self.stack = RecurrentStack(cell, n_layers, d_input=d_model + d_latent, d_model=d_model, dropout=dropout)

    def forward(
        self, x: Float[Tensor, "B T D"], code: Float[Tensor, "B Z"], cache: dict | None = None
    ) -> Float[Tensor, "B T D"]:
        state = None if cache is None else cache.get("state")
        if self.first is not None:
            if state is None:
                state = self.first(code).tanh().to(x.dtype).unflatten(-1, self.shape)
            x = torch.cat((x, code.to(x.dtype).unsqueeze(1).expand(-1, x.shape[1], -1)), dim=-1)
        states, last = self.stack(x, state)
        if cache is not None:
            cache["state"] = last
        return states


class TransformerWriter(nn.Module):
    """Causal layers; a map of the code is added to the vector of every token (Li et al., 2020, section 3.1,
    "embedding"). With a code of no units it is a language model."""

    def __init__(self, n_layers: int, d_model: int, *, d_latent: int, max_length: int, **sizes: Any) -> None:
        super().__init__()
        self.positions = LearnedPositions(max_length, d_model)
        self.every = Linear(d_latent, d_model, bias=False) if d_latent else None
        self.stack = TransformerStack(n_layers, d_model, causal=True, **sizes)

    def forward(
        self, x: Float[Tensor, "B T D"], code: Float[Tensor, "B Z"], cache: dict | None = None
    ) -> Float[Tensor, "B T D"]:
        start = 0 if cache is None else cache.get("length", 0)
        if cache is not None:
            cache["length"] = start + x.shape[1]
        x = self.positions(x, start)
        return self.stack(x if self.every is None else x + self.every(code).unsqueeze(1), cache=cache)

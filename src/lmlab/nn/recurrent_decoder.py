"""Recurrent decoders that look at a source: once their states are known, or at each step before the next of them."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lmlab.nn.alignment import AdditiveAlignment, GeneralAlignment
from lmlab.nn.attention import key_mask
from lmlab.nn.linear import Linear
from lmlab.nn.noise import Dropout
from lmlab.nn.pooling import last_states
from lmlab.nn.recurrent import RecurrentLayer, RecurrentStack

State = tuple[Tensor, ...]  # (h,) or, of an LSTM, (h, c), each (B, H)


class RecurrentDecoder(nn.Module):
    """A stack that begins where the encoder ended, and states tanh(W [context; state]) (Luong et al., 2015, section 3).

    The first state is tanh(W e), e what the encoder's last layer said last in each direction: Bahdanau et al. (2015,
    appendix A.2.2) take the backward one alone. It is a function of the memory, so a decoder is told no more.
    """

    def __init__(
        self,
        cell: str,
        n_layers: int,
        *,
        alignment: str,
        d_input: int,
        d_model: int,
        bidirectional: bool,
        dropout: float = 0.0,
        weight_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.shape, self.bidirectional = (n_layers, 1 + (cell == "lstm"), d_model), bidirectional
        self.first = Linear(d_model, n_layers * self.shape[1] * d_model)
        self.aligned = ALIGNED[alignment](
            cell, n_layers, d_input=d_input, d_model=d_model, dropout=dropout, weight_dropout=weight_dropout
        )
        self.attentional = Linear(2 * d_model, d_model, bias=False)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B T I"],
        memory: Float[Tensor, "M S D"],
        mask: Bool[Tensor, "M S"],
        cache: dict,
    ) -> Float[Tensor, "B T D"]:
        state = cache.get("state")  # (B, L, S, H)
        if state is None:
            ends = last_states(memory, mask, self.bidirectional)
            state = self.first(ends).tanh().to(x.dtype).unflatten(-1, self.shape)
            state = state.repeat_interleave(len(x) // len(memory), dim=0)
        states, contexts, cache["state"] = self.aligned(x, state, memory, key_mask(mask), cache)
        return self.dropout(self.attentional(torch.cat((contexts, states), dim=-1)).tanh())


class AlignedAbove(nn.Module):
    """Layers that read tokens alone, all of them in one call, and attention of their states (Luong et al., 2015,
    section 3.1, without input feeding)."""

    def __init__(
        self, cell: str, n_layers: int, *, d_input: int, d_model: int, dropout: float, weight_dropout: float
    ) -> None:
        super().__init__()
        self.stack = RecurrentStack(
            cell, n_layers, d_input=d_input, d_model=d_model, dropout=dropout, weight_dropout=weight_dropout
        )
        self.alignment = GeneralAlignment(d_model)

    def forward(
        self,
        x: Float[Tensor, "B T I"],
        state: Float[Tensor, "B L S H"],
        memory: Float[Tensor, "M N D"],
        mask: Bool[Tensor, "M 1 1 N"] | None,
        cache: dict,
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B T D"], Float[Tensor, "B L S H"]]:
        """States, contexts and the last state."""
        states, state = self.stack(x, state)
        return states, self.alignment(states, memory, mask, cache), state


class AlignedWithin(nn.Module):
    """A layer that reads each token together with what its own state before it looks at (Bahdanau et al., 2015,
    section 3.1), and layers above that read its states in one call (as do those of Wu et al., 2016, section 3)."""

    def __init__(
        self, cell: str, n_layers: int, *, d_input: int, d_model: int, dropout: float, weight_dropout: float
    ) -> None:
        super().__init__()
        self.step = STEPS[cell]
        noise: dict[str, Any] = {"dropout": dropout, "weight_dropout": weight_dropout}
        self.layer = RecurrentLayer(cell, d_input + d_model, d_model, **noise)
        self.alignment = AdditiveAlignment(d_model)
        self.above = None
        if n_layers > 1:
            self.above = RecurrentStack(cell, n_layers - 1, d_input=d_model, d_model=d_model, **noise)

    def forward(
        self,
        x: Float[Tensor, "B T I"],
        state: Float[Tensor, "B L S H"],
        memory: Float[Tensor, "M N D"],
        mask: Bool[Tensor, "M 1 1 N"] | None,
        cache: dict,
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B T D"], Float[Tensor, "B L S H"]]:
        """States, contexts and the last state."""
        with torch.autocast(x.device.type, enabled=False):  # each step is too small to gain by it
            if "memory_key" not in cache:
                cache["memory_key"] = self.alignment.key(memory.to(x.dtype))
            hidden = None if mask is None else ~mask[:, 0]  # (M, 1, N)
            states, contexts, last = self.steps(x, state[:, 0], memory.to(x.dtype), hidden, cache)
        states = self.layer.dropout(states)
        if self.above is None:
            return states, contexts, last.unsqueeze(1)
        states, lasts = self.above(states, state[:, 1:])
        return states, contexts, torch.cat((last.unsqueeze(1), lasts), dim=1)

    def steps(
        self,
        x: Float[Tensor, "B T I"],
        state: Float[Tensor, "B S H"],
        memory: Float[Tensor, "M N D"],
        hidden: Bool[Tensor, "M 1 N"] | None,
        cache: dict,
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B T D"], Float[Tensor, "B S H"]]:
        """Token after token; of a step stays in the loop only what needs the step before."""
        weights = dict(self.layer.cells.named_parameters()) | self.layer.dropped_weights()
        of_token, of_context = weights["weight_ih_l0"].split((x.shape[-1], memory.shape[-1]), dim=1)
        inputs = nn.functional.linear(x, of_token, weights["bias_ih_l0"])  # (B, T, G)
        query = self.alignment.query
        of_state = torch.cat((weights["weight_hh_l0"], query.weight))  # the gates' maps of a state and the query's
        bias = torch.cat((weights["bias_hh_l0"], query.bias))
        parts: State = state.unbind(1)
        states, contexts, aligned = [], [], []
        for token in inputs.unbind(1):
            mapped = nn.functional.linear(parts[0], of_state, bias)
            recurrent, asked = mapped.split((token.shape[-1], memory.shape[-1]), dim=-1)
            context, weight = self.alignment(asked, cache["memory_key"], memory, hidden)
            parts = self.step(token + context @ of_context.T, recurrent, parts)
            states.append(parts[0])
            contexts.append(context)
            aligned.append(weight)
        if "alignment" in cache:
            cache["alignment"] = torch.stack(aligned, dim=1)
        return torch.stack(states, dim=1), torch.stack(contexts, dim=1), torch.stack(parts, dim=1)


def rnn_step(inputs: Float[Tensor, "B G"], recurrent: Float[Tensor, "B G"], state: State) -> State:
    return ((inputs + recurrent).tanh(),)


def gru_step(inputs: Float[Tensor, "B G"], recurrent: Float[Tensor, "B G"], state: State) -> State:
    (before,) = state
    width = 2 * before.shape[-1]
    reset, update = (inputs[:, :width] + recurrent[:, :width]).sigmoid().chunk(2, dim=-1)
    new = (inputs[:, width:] + reset * recurrent[:, width:]).tanh()
    return (torch.lerp(new, before, update),)


def lstm_step(inputs: Float[Tensor, "B G"], recurrent: Float[Tensor, "B G"], state: State) -> State:
    gates = inputs + recurrent
    taken, kept, new, told = gates.chunk(4, dim=-1)
    cell = kept.sigmoid() * state[1] + taken.sigmoid() * new.tanh()
    return told.sigmoid() * cell.tanh(), cell


STEPS: dict[str, Callable[[Tensor, Tensor, State], State]] = {"rnn": rnn_step, "lstm": lstm_step, "gru": gru_step}
ALIGNED: dict[str, Callable[..., nn.Module]] = {"luong": AlignedAbove, "bahdanau": AlignedWithin}

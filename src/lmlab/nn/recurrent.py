"""Recurrent layers and a stack of them: a text is read token by token into a state of fixed width."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lmlab.nn.noise import Dropout

CELLS: dict[str, Callable[..., nn.RNNBase]] = {
    "rnn": nn.RNN,  # tanh (Elman, 1990)
    "lstm": nn.LSTM,  # with forget gates (Hochreiter and Schmidhuber, 1997; Gers et al., 2000)
    "gru": nn.GRU,  # (Cho et al., 2014)
}


class RecurrentLayer(nn.Module):
    """One layer of cells from left to right, or half of them each way, and dropout of what they say.

    `weight_dropout` drops single weights between hidden states, the same ones at every token (Merity et al., 2018,
    section 2).
    """

    def __init__(
        self,
        cell: str,
        d_input: int,
        d_model: int,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        weight_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_directions = 1 + bidirectional
        self.cells = CELLS[cell](d_input, d_model // self.n_directions, batch_first=True, bidirectional=bidirectional)
        self.dropout, self.weight_dropout = Dropout(dropout), weight_dropout
        self.seed: int | None = None  # of the weights dropped next; torch's own generator if None
        initialize(self.cells)

    def forward(
        self,
        x: Float[Tensor, "B T I"],
        state: Float[Tensor, "B S H"] | None = None,
        lengths: Int[Tensor, "B"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B S H"]]:
        """The states of all tokens and the last of each text, where the next tokens can go on.

        S counts what a cell keeps (an LSTM two things, others one) times directions. Beyond `lengths`, which are on
        the CPU, nothing is read.
        """
        inputs: Tensor | PackedSequence = x
        if lengths is not None:
            inputs = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        with torch.autocast("cpu", enabled=False):  # oneDNN has bfloat16 cells for some processors only
            states, last = functional_call(self.cells, self.dropped_weights(), (inputs, self.unfolded(state)))
        if lengths is not None:
            states, _ = pad_packed_sequence(states, batch_first=True, total_length=x.shape[1])
        kept = torch.stack(last) if isinstance(last, tuple) else last[None]  # (h and c, directions, B, H)
        return self.dropout(states), kept.flatten(0, 1).transpose(0, 1).to(x.dtype)

    def unfolded(self, state: Float[Tensor, "B S H"] | None) -> Tensor | tuple[Tensor, ...] | None:
        """The state in the form that torch's cells take."""
        if state is None:
            return None
        parts = state.transpose(0, 1).split(self.n_directions)  # each (directions, B, H)
        parts = tuple(part.contiguous() for part in parts)
        return parts if isinstance(self.cells, nn.LSTM) else parts[0]

    def dropped_weights(self) -> dict[str, Tensor]:
        """The hidden-to-hidden matrices of this batch, where they are not those of the cells."""
        if not self.training or not self.weight_dropout:
            return {}
        weights = {name: weight for name, weight in self.cells.named_parameters() if name.startswith("weight_hh")}
        device = weights["weight_hh_l0"].device
        generator = None if self.seed is None else torch.Generator(device).manual_seed(self.seed)
        kept = {
            name: torch.rand(weight.shape, device=device, generator=generator) >= self.weight_dropout
            for name, weight in weights.items()
        }
        return {name: weight * kept[name] / (1 - self.weight_dropout) for name, weight in weights.items()}


class RecurrentStack(nn.Module):
    """n layers, each reading the states of the one below."""

    def __init__(
        self,
        cell: str,
        n_layers: int,
        *,
        d_input: int,
        d_model: int,
        bidirectional: bool = False,
        dropout: float = 0.0,
        weight_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            RecurrentLayer(
                cell,
                d_model if number else d_input,
                d_model,
                bidirectional=bidirectional,
                dropout=dropout,
                weight_dropout=weight_dropout,
            )
            for number in range(n_layers)
        )

    def forward(
        self,
        x: Float[Tensor, "B T I"],
        state: Float[Tensor, "B L S H"] | None = None,
        lengths: Int[Tensor, "B"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B L S H"]]:
        last = []
        for number, layer in enumerate(self.layers):
            x, kept = layer(x, None if state is None else state[:, number], lengths)
            last.append(kept)
        return x, torch.stack(last, dim=1)


def initialize(cells: nn.RNNBase) -> None:
    """Orthogonal maps of the state (Saxe et al., 2014), open forget gates (Jozefowicz et al., 2015, section 2.2)."""
    d_hidden = cells.hidden_size
    for name, parameter in cells.named_parameters():
        if name.startswith("weight_hh"):
            for gate in parameter.data.split(d_hidden):
                nn.init.orthogonal_(gate)
        elif name.startswith("weight_ih"):
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
            if isinstance(cells, nn.LSTM) and name.startswith("bias_ih"):
                nn.init.ones_(parameter.data[d_hidden : 2 * d_hidden])

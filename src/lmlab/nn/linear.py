"""Several linear maps of one input."""

from torch import nn


class StackedLinear(nn.Linear):
    """`n_maps` linear maps of one input, their weights one below another: all of them are one multiplication."""

    def __init__(self, d_in: int, d_out: int, n_maps: int, *, bias: bool = True) -> None:
        super().__init__(d_in, n_maps * d_out, bias=bias)
        self.n_maps = n_maps

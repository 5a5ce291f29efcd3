"""Where a token stands: learned, sinusoidal and rotary positions."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LearnedPositions(nn.Module):
    """A trained vector for each position (Gehring et al., 2017)."""

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(max_length, d_model) * 0.02)

    def forward(self, x: Float[Tensor, "B T D"], start: int = 0) -> Float[Tensor, "B T D"]:
        return x + self.weight[start : start + x.shape[1]]


class SinusoidalPositions(nn.Module):
    """Fixed sines and cosines of geometric wavelengths (Vaswani et al., 2017, section 3.5)."""

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.table: Tensor
        angle = angles(max_length, d_model)
        table = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :d_model]  # (max_length, D)
        self.register_buffer("table", table, persistent=False)

    def forward(self, x: Float[Tensor, "B T D"], start: int = 0) -> Float[Tensor, "B T D"]:
        return x + self.table[start : start + x.shape[1]]


class RotaryPositions(nn.Module):
    """Turns queries and keys by an angle that grows with their position (Su et al., 2021)."""

    def __init__(self, max_length: int, d_head: int) -> None:
        super().__init__()
        if d_head % 2:
            raise ValueError(f"rotary positions need an even head width, got {d_head}")
        self.cos: Tensor
        self.sin: Tensor
        angle = angles(max_length, d_head)  # (max_length, d_head / 2)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, x: Float[Tensor, "B H T d"], start: int = 0) -> Float[Tensor, "B H T d"]:
        cos, sin = (table[start : start + x.shape[2]].to(x.dtype) for table in (self.cos, self.sin))
        left, right = x.chunk(2, dim=-1)
        return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


def angles(length: int, width: int) -> Float[Tensor, "length half"]:
    """position / 10000^(2i / width), for i < width / 2 rounded up."""
    frequency = 10_000.0 ** (-torch.arange(0, width, 2) / width)
    return torch.outer(torch.arange(length, dtype=torch.float32), frequency)

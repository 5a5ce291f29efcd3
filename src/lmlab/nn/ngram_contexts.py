"""What an n-gram model sees of a text at each of its tokens."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn


def contexts(tokens: Int[Tensor, "B T"], order: int, *, begin: int, end: int) -> Int[Tensor, "B T C"]:
    """The last n - 1 tokens at each position, the most recent last: none from before the text's `begin` or `end`.

    The end of a text is the beginning of the next.
    """
    length = tokens.shape[1]
    place = torch.arange(length, device=tokens.device)
    begins = torch.where((tokens == end) | (tokens == begin), place, -1).cummax(1).values  # (B, T)
    marked = torch.where(tokens == end, begin, tokens)
    columns = []
    for back in reversed(range(order - 1)):
        column = nn.functional.pad(marked, (back, 0), value=-1)[:, :length]
        columns.append(torch.where(place - back >= begins.clamp(min=0), column, -1))
    return torch.stack(columns, dim=-1) if columns else tokens.new_zeros(*tokens.shape, 0)


def first_ones(tokens: Int[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """Where a token stands for the first time in its row."""
    ordered, places = tokens.sort(dim=1, stable=True)
    new = nn.functional.pad(ordered[:, 1:] != ordered[:, :-1], (1, 0), value=True)
    return torch.zeros_like(new).scatter(1, places, new)

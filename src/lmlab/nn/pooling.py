"""One vector from the states of a text: their mean, a learned one, or the state where a network has read all of it."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class AttentionPooling(nn.Module):
    """A mean weighted by how much each state matters, which is learned (Yang et al., 2016, equations 5 to 7)."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(d_model, d_model)
        self.score = nn.Linear(d_model, 1, bias=False)

    def forward(self, states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        scores = self.score(self.hidden(states).tanh()).squeeze(-1).float()  # (B, T)
        weights = scores.masked_fill(~mask, -torch.inf).softmax(-1).to(states.dtype)
        return torch.einsum("bt,btd->bd", weights, states)


def mean_state(states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    """The mean of the states of the real tokens."""
    weight = mask.unsqueeze(-1).to(states.dtype)  # (B, T, 1)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


def first_state(states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    return states[:, 0]


def last_states(
    states: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"], bidirectional: bool = False
) -> Float[Tensor, "B D"]:
    """The state at the last real token; of a bidirectional network, its backward half is that at the first token."""
    last = states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    if not bidirectional:
        return last
    half = states.shape[-1] // 2
    return torch.cat((last[:, :half], states[:, 0, half:]), dim=-1)

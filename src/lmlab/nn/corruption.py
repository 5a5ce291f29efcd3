"""Texts with words missing, blanked and out of their places, from which an autoencoder is to tell the whole."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmlab.nn.noise import Noise


class Corrupted(NamedTuple):
    """What an encoder reads of texts."""

    tokens: Int[Tensor, "B T"]
    mask: Bool[Tensor, "B T"]
    blanked: Bool[Tensor, "B T"] | None  # the tokens whose vectors it does not see


class Corruption(Noise):
    """Tokens deleted, blanked and moved by at most `shuffle` places, anew in each epoch of a training (Hill et al.,
    2016; Lample et al., 2018, section 2.3). A text's first token, which only begins it, stays."""

    def __init__(self, *, deletion: float = 0.0, blanking: float = 0.0, shuffle: int = 0) -> None:
        super().__init__()
        self.deletion, self.blanking, self.shuffle = deletion, blanking, shuffle

    def forward(self, tokens: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Corrupted:
        if not self.training or not (self.deletion or self.blanking or self.shuffle):
            return Corrupted(tokens, mask, None)
        length = tokens.shape[1]
        drawn = self.uniform(tokens, 3 * length)
        missing, blank, moved = (drawn[:, kind::3] for kind in range(3))  # a place's own, however many follow it
        kept = mask & (missing >= self.deletion)
        kept[:, 0] = mask[:, 0]
        place = torch.arange(length, device=tokens.device) + moved * (self.shuffle + 1)
        place[:, 0] = -1.0
        order = place.masked_fill(~kept, torch.inf).argsort(dim=1, stable=True)
        blanked = blank < self.blanking
        blanked[:, 0] = False
        left = torch.arange(length, device=tokens.device) < kept.sum(1, keepdim=True)
        return Corrupted(tokens.gather(1, order), left, blanked)


def blank(x: Float[Tensor, "B T D"], blanked: Bool[Tensor, "B T"] | None) -> Float[Tensor, "B T D"]:
    """Vectors of tokens, those of blanked ones zero."""
    return x if blanked is None else x.masked_fill(blanked.unsqueeze(-1), 0.0)

"""What tasks that answer for a whole text share: its pooled states, and a linear layer on them."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from lmlab.nn.network import Network
from lmlab.nn.noise import Dropout


def linear_head(d_model: int, n_answers: int, dropout: float, *, normed: bool) -> nn.Sequential:
    layers = Dropout(dropout), nn.Linear(d_model, n_answers)
    return nn.Sequential(nn.LayerNorm(d_model), *layers) if normed else nn.Sequential(*layers)


def pooled(network: Network, batch: Mapping[str, Tensor]) -> Float[Tensor, "B D"]:
    """One vector for each text or pair."""
    return network.vector(batch["tokens"], batch["mask"], batch.get("segments"))

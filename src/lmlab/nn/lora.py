"""LoRA: the change of a frozen linear map as a product of two thin matrices (Hu et al., 2022)."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmlab.errors import ConfigError
from lmlab.nn.linear import Linear
from lmlab.nn.network import LAYER, Network
from lmlab.ranges import PositiveFloat, PositiveInt


class LowRank(nn.Module):
    """x A^T B^T * alpha / rank; B begins at zero, so that nothing changes before the first step."""

    def __init__(self, d_in: PositiveInt, d_out: PositiveInt, rank: PositiveInt, alpha: PositiveFloat) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(rank, d_in) / rank)
        self.b = nn.Parameter(torch.zeros(d_out, rank))
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(alpha / rank))

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        return nn.functional.linear(nn.functional.linear(x, self.a), self.b * self.scale)


def adapt(network: Network, rank: PositiveInt, alpha: PositiveFloat) -> None:
    """Freeze a network but for a low-rank change of every map in its layers, and what weights= may lack."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(bool(network.may_begin_anew) and name.startswith(network.may_begin_anew))
    maps = [part for name, part in network.named_modules() if isinstance(part, nn.Linear) and LAYER.search(name)]
    if not maps:
        what = f"{type(network).__name__} has no linear maps in layers"
        raise ConfigError(what, "model.lora_rank", "Set it to 0")
    for part in maps:
        part.low_rank = LowRank(part.in_features, part.out_features, rank, alpha)
        if not isinstance(part, Linear):  # torch's own, in a model of transformers
            part.register_forward_hook(changed)


def changed(part: nn.Module, given: tuple[Tensor, ...], y: Tensor) -> Tensor:
    return y + part.low_rank(*given)


def merged(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of the network without its low-rank changes, which are added to the weights that they change."""
    found = {name: tensor for name, tensor in state.items() if ".low_rank." not in name}
    for name in state:
        if name.endswith(".low_rank.b"):
            part = name.removesuffix(".low_rank.b")
            a, b, scale = (state[f"{part}.low_rank.{each}"] for each in ("a", "b", "scale"))
            found[f"{part}.weight"] = found[f"{part}.weight"] + (b * scale) @ a
    return found

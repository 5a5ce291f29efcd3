"""Linear maps: in the form that is fastest for few rows, as texts are written with, and several of one input."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

FEW = 32  # rows up to which the weights' way to the cores, not the arithmetic, decides
LARGE = 2**20  # weights from which on they have such a way to go


def linear(x: Float[Tensor, "*B I"], weight: Float[Tensor, "O I"], bias: Tensor | None = None) -> Float[Tensor, "*B O"]:
    """x @ weight.T + bias.

    MKL first copies the weights into an order of its own, which costs more than to multiply a few rows with them.
    oneDNN copies only what stands to the right; with the weights to the left it reads them once, as they lie.
    """
    plainly = torch.is_grad_enabled() or torch.compiler.is_exporting()
    if plainly or weight.numel() < LARGE or not on_cpu_in_float32(x, weight):
        return nn.functional.linear(x, weight, bias)
    rows = x.numel() // max(1, x.shape[-1])
    if not 0 < rows <= FEW:
        return nn.functional.linear(x, weight, bias)
    flat = x.reshape(rows, x.shape[-1]).contiguous()
    product = torch.ops.mkldnn._linear_pointwise(weight, flat, None, "none", [], "").t()  # (rows, O)
    return (product if bias is None else product + bias).reshape(*x.shape[:-1], len(weight))


def on_cpu_in_float32(*tensors: Tensor) -> bool:
    plain = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
    return plain and torch.backends.mkldnn.is_available() and not torch.is_autocast_enabled("cpu")


class Linear(nn.Linear):
    """nn.Linear whose products with few rows are `linear`'s, and which may have a change beside its weights (LoRA)."""

    def __init__(self, d_in: int, d_out: int, *, bias: bool = True) -> None:
        super().__init__(d_in, d_out, bias=bias)
        self.low_rank: nn.Module | None = None

    def forward(self, x: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        y = linear(x, self.weight, self.bias)
        return y if self.low_rank is None else y + self.low_rank(x)


class StackedLinear(Linear):
    """`n_maps` linear maps of one input, their weights one below another: all of them are one multiplication."""

    def __init__(self, d_in: int, d_out: int, n_maps: int, *, bias: bool = True) -> None:
        super().__init__(d_in, n_maps * d_out, bias=bias)
        self.n_maps = n_maps

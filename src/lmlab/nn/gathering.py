"""The rows of all processes of a training, for a loss in which each row meets all others."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor


def gathered(rows: Shaped[Tensor, "B *D"]) -> tuple[Shaped[Tensor, "N *D"], int]:
    """(the rows of all processes, where one's own begin); the gradient of each comes from the losses of them all.

    Processes may have unlike numbers of rows.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return rows, 0
    world, rank = dist.get_world_size(), dist.get_rank()
    sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world)]
    dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
    counts = [int(size) for size in sizes]
    padded = F.pad(rows, (0, 0) * (rows.ndim - 1) + (0, max(counts) - len(rows)))
    parts = OfAll.apply(padded).split(max(counts))  # type: ignore[no-untyped-call]
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]), sum(counts[:rank])


class OfAll(torch.autograd.Function):
    """All processes' tensors of one shape, one after another."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]

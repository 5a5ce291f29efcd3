"""Muon: hidden matrices move by orthogonal steps, all else by AdamW."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import AdamW, Optimizer

from lmlab.ranges import Fraction, NonNegativeFloat, PositiveFloat

QUINTIC = (3.4445, -4.7750, 2.0315)  # of x, x^3, x^5; steep at 0, so that small singular values grow fast
ITERATIONS = 5


class Muon(Optimizer):
    """The momentum of each hidden matrix with its singular values brought near 1 (Jordan et al., 2024).

    A matrix that holds several maps (queries, keys and values; the gates of a cell) is taken apart first. Tables,
    output layers, heads and vectors have AdamW. torch.optim.Muon takes such a matrix as one map, and iterates in
    bfloat16: on a processor that has to emulate it, 10 to 60 times as long as in float32 (observed).
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        *,
        lr: PositiveFloat,
        matrix_lr: PositiveFloat,
        momentum: Fraction = 0.95,
        weight_decay: NonNegativeFloat = 0.0,
        betas: tuple[Fraction, Fraction] = (0.9, 0.999),
        fused: bool = False,
    ) -> None:
        """`params` are the groups of `lmlab.optimizers.parameter_groups`; `lr` is AdamW's, `matrix_lr` Muon's."""
        others, hidden = [], []
        for group in params:
            maps = group.get("maps", [0] * len(group["params"]))
            told = [*zip(group["params"], maps, strict=True)]
            others.append(group | {"params": [matrix for matrix, n_maps in told if not n_maps]})
            others[-1].pop("maps", None)
            if any(maps):
                beside = {"maps": [n_maps for n_maps in maps if n_maps], "lr": matrix_lr, "momentum": momentum}
                hidden.append(group | {"params": [matrix for matrix, n_maps in told if n_maps]} | beside)
        super().__init__([*others, *hidden], {"lr": lr, "weight_decay": weight_decay})
        self.adamw = AdamW(self.orthogonal(False), lr=lr, weight_decay=weight_decay, betas=betas, fused=fused)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.adamw.param_groups, self.adamw.state = self.orthogonal(False), self.state  # loading has brought new ones
        self.adamw.step()
        for group in self.orthogonal(True):
            for matrix, n_maps in zip(group["params"], group["maps"], strict=True):
                if matrix.grad is not None:
                    self.move(matrix, n_maps, group)
        return loss

    def orthogonal(self, whether: bool) -> list[dict[str, Any]]:
        """The groups of hidden matrices, or of all else."""
        return [group for group in self.param_groups if ("maps" in group) == whether]

    def move(self, matrix: Tensor, n_maps: int, group: dict[str, Any]) -> None:
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        momentum = state["momentum"].lerp_(matrix.grad, 1 - group["momentum"])
        ahead = matrix.grad.lerp(momentum, group["momentum"])  # type: ignore[union-attr]  # Nesterov's
        maps = ahead.unflatten(0, (n_maps, -1))  # (n_maps, rows, columns)
        size = group["lr"] * math.sqrt(max(1.0, maps.shape[1] / maps.shape[2]))
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.sub_(orthogonal(maps).flatten(0, 1), alpha=size)


def orthogonal(maps: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """U V^T of each map U S V^T, nearly: Newton-Schulz iterations leave singular values from 0.7 to 1.2."""
    if maps.shape[1] > maps.shape[2]:
        return orthogonal(maps.mT).mT
    linear, cubic, quintic = QUINTIC
    x = maps.bfloat16() if maps.is_cuda else maps.float()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT  # (n, rows, rows)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic), x, beta=linear)
    return x.to(maps.dtype)

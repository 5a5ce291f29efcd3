"""Which parameters decay or are hidden matrices, how tables of rare rows move, how the learning rate changes."""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lmlab.errors import ConfigError
from lmlab.nn.network import LAYER, Network
from lmlab.ranges import Fraction, NonNegativeInt, PositiveFloat, Probability


def parameter_groups(modules: Iterable[nn.Module], layer_decay: PositiveFloat = 1.0) -> list[dict]:
    """Tables of embeddings, other matrices, vectors: vectors (biases, norms) do not decay (Devlin et al., 2019).

    `maps` says of each matrix how many hidden maps it holds (`hidden_maps`), `share` what a group's learning rate is
    multiplied by: `layer_decay` for each layer that stands above it (Howard and Ruder, 2018, section 3.2), where
    matrices and vectors of every layer are groups of their own.
    """
    modules = list(modules)
    named = {id(p): (name, p) for module in modules for name, p in module.named_parameters() if p.requires_grad}
    tables = {id(part.weight) for module in modules for part in module.modules() if isinstance(part, nn.Embedding)}
    hidden = {key: n for module in modules if isinstance(module, Network) for key, n in hidden_maps(module).items()}
    top = max((n for module in modules if isinstance(module, Network) for n in depths(module).values()), default=0)
    below = {key: n for module in modules if isinstance(module, Network) for key, n in depths(module).items()}
    shares = {key: 1.0 if layer_decay == 1 else layer_decay ** (top - below.get(key, top)) for key in named}
    groups: list[dict] = [
        {
            "params": [p for key, (_, p) in named.items() if key in tables],
            "tables": True,
            "share": min((shares[key] for key in tables & named.keys()), default=1.0),
        }
    ]
    for share in sorted(set(shares.values())):
        of = {key: p for key, (_, p) in named.items() if key not in tables and shares[key] == share}
        matrices = {key: p for key, p in of.items() if p.ndim >= 2}
        maps = [hidden.get(key, 0) for key in matrices]
        groups.append({"params": [*matrices.values()], "maps": maps, "share": share})
        groups.append({"params": [p for p in of.values() if p.ndim < 2], "weight_decay": 0.0, "share": share})
    return [{"tables": False, **group} for group in groups]


BOTTOM = re.compile(r"(embedding|source_embedding|positions|segments|ngrams|norm)\.|body\..*(embed|wte|wpe|shared)")


def depths(network: Network) -> dict[int, int]:
    """How many layers stand below each parameter, and itself one of them, by its id; the tables have depth 0."""
    found = {}
    for name, parameter in network.named_parameters():
        layer = LAYER.search(name)
        found[id(parameter)] = int(layer[1]) + 1 if layer else 0 if BOTTOM.match(name) else -1
    above = max(found.values(), default=0) + 1
    return {key: above if depth < 0 else depth for key, depth in found.items()}


def freeze(network: Network, n_layers: NonNegativeInt) -> None:
    """Keep the embeddings and the lowest `n_layers` layers as they are."""
    depth = depths(network)
    layers = filter(None, (LAYER.search(name) for name, _ in network.named_parameters()))
    known = max((int(layer[1]) + 1 for layer in layers), default=0)
    if n_layers > known:
        raise ConfigError(f"{n_layers} layers are to stay as they are, and {known} are known by name", "model.frozen")
    for parameter in network.parameters():
        if depth[id(parameter)] <= n_layers:
            parameter.requires_grad_(False)


def hold_back(network: Network, done: float) -> None:
    """Take the gradients of layers whose turn has not come (gradual unfreezing: Howard and Ruder, 2018, section 3.3).

    `done` is how far the unfreezing is, 0 to 1: heads learn from the beginning, the embeddings come last.
    """
    depth = depths(network)
    top = max(depth.values(), default=0)
    for parameter in network.parameters():
        if (top - depth[id(parameter)]) > done * top:
            parameter.grad = None


def highest_rate(optimizer: Optimizer) -> float:
    """The learning rate of what is not an embedding, at the top of a network."""
    return max(group["lr"] for group in optimizer.param_groups if not group.get("tables"))


def hidden_maps(network: Network) -> dict[int, int]:
    """How many linear maps between hidden states each weight holds, by the weight's id; the output layer is no such."""
    last = getattr(network, "output", None)
    outside = {id(p) for p in last.parameters()} if isinstance(last, nn.Module) else set()
    found = {}
    for part in network.modules():
        if isinstance(part, nn.Linear) and part.out_features > 1:
            found[id(part.weight)] = getattr(part, "n_maps", 1)
        elif isinstance(part, nn.RNNBase):  # a map for each gate
            found |= {id(p): len(p) // part.hidden_size for p in part.parameters() if p.ndim == 2}
    return {key: n_maps for key, n_maps in found.items() if key not in outside}


class LazyAdamW(AdamW):
    """AdamW (Loshchilov and Hutter, 2019) that moves a row of a table only in steps that used it.

    Plain Adam goes on moving a row for as long as its momentum lasts and divides by a variance that decays meanwhile:
    a word seen once moves as far as a word seen often. Here the rows of the first parameter group (the tables of
    `parameter_groups`) keep their moments until they are used again, as in torch's SparseAdam.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        tables, *others = self.param_groups
        self.param_groups = others
        super().step()
        self.param_groups = [tables, *others]
        for table in tables["params"]:
            if table.grad is not None:
                self.move_used_rows(table, tables)
        return loss

    def move_used_rows(self, table: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[table], group["betas"]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
        state["step"] += 1
        rows = table.grad.abs().amax(1).nonzero().squeeze(1)  # type: ignore[union-attr]
        gradient = table.grad[rows]  # type: ignore[index]
        mean = state["exp_avg"][rows].lerp_(gradient, 1 - beta1)
        square = state["exp_avg_sq"][rows].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        state["exp_avg"][rows], state["exp_avg_sq"][rows] = mean, square
        done = state["step"].item()
        size = group["lr"] * math.sqrt(1 - beta2**done) / (1 - beta1**done)
        values = table[rows] * (1 - group["lr"] * group["weight_decay"])
        table[rows] = values.addcdiv_(mean, square.sqrt_().add_(group["eps"]), value=-size)


def warmup_cosine(
    optimizer: Optimizer, total_steps: int, *, warmup: Probability = 0.1, floor: Probability = 0.0
) -> LambdaLR:
    """Linear up over the share `warmup` of all steps, then half a cosine down to the share `floor` of the peak."""
    return scheduled(
        optimizer, total_steps, warmup, lambda done: floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2
    )


def warmup_linear(optimizer: Optimizer, total_steps: int, *, warmup: Probability = 0.06) -> LambdaLR:
    """Linear up, then linear down to zero (Devlin et al., 2019)."""
    return scheduled(optimizer, total_steps, warmup, lambda done: 1 - done)


def warmup_stable_decay(
    optimizer: Optimizer, total_steps: int, *, warmup: Probability = 0.02, decay: Probability = 0.2
) -> LambdaLR:
    """Linear up, flat, and over the last share `decay` linear down to zero (Hu et al., 2024, section 4)."""
    falling = decay / max(1e-9, 1 - warmup)  # as a share of what comes after the warm-up
    return scheduled(optimizer, total_steps, warmup, lambda done: min(1.0, (1 - done) / max(1e-9, falling)))


def constant(optimizer: Optimizer, total_steps: int, *, warmup: Fraction = 0.0) -> LambdaLR:
    """Linear up, then flat."""
    return scheduled(optimizer, total_steps, warmup, lambda done: 1.0)


def scheduled(optimizer: Optimizer, total_steps: int, warmup: float, shape: Callable[[float], float]) -> LambdaLR:
    rising = max(1, round(warmup * total_steps))
    falling = max(1, total_steps - rising)
    return LambdaLR(
        optimizer,
        lambda step: (step + 1) / rising if step < rising else shape(min(1.0, (step - rising) / falling)),
    )

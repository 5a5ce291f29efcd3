"""Which parameters decay, and how the learning rate moves."""

import math
from collections.abc import Callable, Iterable

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lmlab.ranges import Fraction, Probability


def parameter_groups(modules: Iterable[nn.Module]) -> list[dict]:
    """Tables of embeddings, other matrices, vectors: vectors (biases, norms) do not decay (Devlin et al., 2019)."""
    modules = list(modules)
    parameters = {id(p): p for module in modules for p in module.parameters() if p.requires_grad}
    tables = {id(part.weight) for module in modules for part in module.modules() if isinstance(part, nn.Embedding)}
    return [
        {"params": [p for key, p in parameters.items() if key in tables]},
        {"params": [p for key, p in parameters.items() if key not in tables and p.ndim >= 2]},
        {"params": [p for key, p in parameters.items() if key not in tables and p.ndim < 2], "weight_decay": 0.0},
    ]


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

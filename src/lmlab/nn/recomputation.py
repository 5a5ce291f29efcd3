"""Activation checkpointing: layers forget what they computed, and compute it again when its gradient is wanted."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lmlab.nn.noise import Noise

again: ContextVar[bool] = ContextVar("again", default=False)  # whether what is computed now was computed before


def recomputed(layer: nn.Module, *inputs: Any, **options: Any) -> Tensor:
    """The output of a layer, of which the inputs alone are kept until its gradient is wanted (Chen et al., 2016)."""
    return checkpoint(layer, *inputs, use_reentrant=False, context_fn=partial(contexts, layer), **options)


def contexts(layer: nn.Module) -> tuple[contextlib.AbstractContextManager, contextlib.AbstractContextManager]:
    """Of the first time and of the second, which draws the same noise though the batch is done by then."""
    return contextlib.nullcontext(), second_time(
        [(part, part.texts) for part in layer.modules() if isinstance(part, Noise)]
    )


@contextlib.contextmanager
def second_time(drawn: list[tuple[Noise, Tensor | None]]) -> Iterator[None]:
    token = again.set(True)
    for source, texts in drawn:
        source.texts = texts
    try:
        yield
    finally:
        again.reset(token)
        for source, _ in drawn:
            source.texts = None

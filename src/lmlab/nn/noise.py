"""Dropout whose noise belongs to a text: the same in any batch, on any process, beside any padding.

torch draws noise in the order of a batch's elements, so two processes with half a batch each train on other noise than
one with the whole. Here every number is a hash of (seed, epoch, text, module, place). It is also several times cheaper
than an element's own draw, because a text drops the same features at all of its positions.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

STEP, FIRST, SECOND = (number - 2**64 for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
INVERSE = pow(STEP, -1, 2**64) - 2**64  # STEP * INVERSE is 1 in 64 bits


class Noise(nn.Module):
    """A source of uniform numbers for each text of a batch; torch's own generator outside `noise_of`."""

    texts: Tensor | None = None  # (B,) int64: the key of each text of the batch at hand

    def uniform(self, x: Tensor, width: int) -> Float[Tensor, "B width"]:
        """Numbers in [0, 1) for the texts that are the rows of `x`."""
        if self.texts is None:
            return torch.rand(len(x), width, device=x.device)
        places = torch.arange(1, width + 1, device=x.device)
        # texts + places * STEP; torch.compile takes a multiple of an arange for an index, and C++ lets none overflow
        numbers = (self.texts[:, None] * INVERSE + places) * STEP
        return (shifted(hashed(numbers), 40)).float() / 2**24


class Dropout(Noise):
    """Dropout of features, the same ones at every position of a text (Gal and Ghahramani, 2016, section 4)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, "B *T D"]) -> Float[Tensor, "B *T D"]:
        if not self.training or not self.p:
            return x
        kept = (self.uniform(x, x.shape[-1]) >= self.p).to(x.dtype) / (1 - self.p)  # (B, D)
        return x * kept.reshape(len(x), *[1] * (x.ndim - 2), -1)


class KeyDropout(Noise):
    """Dropout of attention: a head drops the same keys for all queries of a text (Zehui et al., 2019, by columns).

    To drop a key's weights and raise those of the others is to do so with its value, and a fused kernel, which never
    holds the weights, can go on.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, value: Float[Tensor, "B H S d"]) -> Float[Tensor, "B H S d"]:
        if not self.training or not self.p:
            return value
        heads, length = value.shape[1:3]
        kept = (self.uniform(value, length * heads) >= self.p).to(value.dtype) / (1 - self.p)
        return value * kept.view(-1, length, heads, 1).transpose(1, 2)  # of a key, whatever stands behind it


@contextmanager
def noise_of(modules: Iterable[nn.Module], seed: int, rows: Int[Tensor, "B"]) -> Iterator[None]:
    """The time in which every source of noise in `modules` draws for the texts `rows`."""
    sources = [part for module in modules for part in module.modules() if isinstance(part, Noise)]
    key = hashed(hashed(rows + STEP) + seed)
    for source in sources:
        source.texts = key = hashed(key + STEP)
    try:
        yield
    finally:
        for source in sources:
            source.texts = None


@contextmanager
def redrawn(module: nn.Module, number: int) -> Iterator[None]:
    """The time in which the texts that `noise_of` has named draw other numbers, as a further text of the same row must:
    what two texts drop alike would tell that they belong together."""
    sources = [(part, part.texts) for part in module.modules() if isinstance(part, Noise) and part.texts is not None]
    for source, texts in sources:
        source.texts = hashed(hashed(texts) + number)
    try:
        yield
    finally:
        for source, texts in sources:
            source.texts = texts


def hashed(x: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """splitmix64's finaliser (Steele et al., 2014), elementwise."""
    x = (x ^ shifted(x, 30)) * FIRST
    x = (x ^ shifted(x, 27)) * SECOND
    return x ^ shifted(x, 31)


def shifted(x: Int[Tensor, "..."], by: int) -> Int[Tensor, "..."]:
    """To the right with zeros from the left: torch's own shift repeats the sign."""
    return (x >> by) & (2 ** (64 - by) - 1)

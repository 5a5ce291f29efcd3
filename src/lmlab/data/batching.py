"""Which rows make a batch: token budgets over rows of like length, in an order that (seed, epoch) alone decides."""

from collections.abc import Iterable, Iterator

import numpy as np
from torch.utils.data import Sampler

from lmlab.errors import ConfigError
from lmlab.ranges import NonNegativeInt, PositiveInt


def cut(longest: np.ndarray, budget: int, min_rows: int = 1) -> np.ndarray:
    """Where to cut rows that stand in order of length so that rows x longest row stays within `budget`.

    Returns the ends of the batches. A batch has `min_rows` rows even where these alone exceed the budget; a last
    scrap below `min_rows` shares the rows of the batch before it.
    """
    ends = [0]
    while ends[-1] < len(longest):
        ahead = longest[ends[-1] : ends[-1] + max(min_rows, budget // int(longest[ends[-1]]))]
        cost = ahead * np.arange(1, len(ahead) + 1)
        ends.append(ends[-1] + max(int(np.searchsorted(cost, budget, "right")), min(min_rows, len(ahead))))
    if len(ends) > 2 and ends[-1] - ends[-2] < min_rows:
        if ends[-1] - ends[-3] >= 2 * min_rows:
            ends[-2] = (ends[-1] + ends[-3]) // 2
        else:
            del ends[-2]
    return np.array(ends[1:])


class BatchOrder(Sampler[list[int]]):
    """The training batches of an epoch: length-sorted pools cut by a token budget, then shuffled.

    Every pool takes one random row from each stratum of rows of like length, so all pools have the same profile of
    lengths, one cut serves them all, and *every epoch has the same number of batches*. The plan depends on (seed,
    epoch) alone: neither the number of ranks nor of micro-batches, which only slice its global batches.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        *,
        batch_tokens: PositiveInt,
        pool: PositiveInt,
        seed: NonNegativeInt,
        min_rows: PositiveInt = 8,
        rank: NonNegativeInt = 0,
        world: PositiveInt = 1,
        accumulation: PositiveInt = 1,
    ) -> None:
        self.lengths, self.seed = np.asarray(lengths), seed
        self.rank, self.world, self.accumulation = rank, world, accumulation
        self.epoch, self.start = 0, 0  # start: global batches of the next epoch to skip
        self.sampler = self  # Lightning calls set_epoch on `.sampler` only: without it all epochs have one order
        ordered = np.sort(self.lengths)
        pools = max(2, round(int(ordered.sum()) / (batch_tokens * pool)))  # one would make the same batches each epoch
        pools = max(1, min(pools, len(ordered) // (min_rows + 1)))
        self.strata = -(-len(ordered) // pools)  # rows of a pool
        self.pools = -(-len(ordered) // self.strata)
        longest = ordered[np.minimum(np.arange(1, self.strata + 1) * self.pools, len(ordered)) - 1]
        short = len(ordered) % self.pools > 0  # not every pool has a row of the last stratum
        # half of a full batch as the floor: a last scrap is evened out with the batch before it
        self.ends = cut(longest, batch_tokens, max(min_rows + short, batch_tokens // (2 * int(ordered[-1]))))
        sizes = np.diff(self.ends, prepend=0)
        sizes[-1] -= short
        self.smallest = int(sizes.min())  # rows of the smallest global batch
        self.check_shares(world, accumulation)

    def check_shares(self, world: int, accumulation: int) -> None:
        """Raises ConfigError if a global batch is too small for each process to have a row of each micro-batch."""
        slices = world * accumulation
        if self.smallest < slices:
            raise ConfigError(
                f"a global batch of {self.smallest} rows cannot be shared by {world} processes x "
                f"{accumulation} accumulated batches",
                "data.batch_tokens",
                f"Set data.min_rows={slices} and raise data.batch_tokens, or use fewer processes",
            )

    def global_batches(self, epoch: int) -> list[np.ndarray]:
        """All batches of `epoch`, shortest row first inside each."""
        rng = np.random.default_rng([self.seed, epoch])
        rows = rng.permutation(len(self.lengths))  # ties of length fall anew in each epoch
        rows = rows[np.argsort(self.lengths[rows], kind="stable")]
        rows = np.concatenate([rows, np.full(self.strata * self.pools - len(rows), -1)])
        by_pool = rng.permuted(rows.reshape(self.strata, self.pools), axis=1).T  # (pools, strata)
        batches = [batch for pool in by_pool for batch in np.split(pool, self.ends[:-1])]
        return [batches[i][batches[i] >= 0] for i in rng.permutation(len(batches))]

    @property
    def batches_per_epoch(self) -> int:
        """Global batches, hence optimizer steps, of every epoch."""
        return self.pools * len(self.ends)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        """Micro-batches that this rank draws in an epoch."""
        return self.batches_per_epoch * self.accumulation

    def __iter__(self) -> Iterator[list[int]]:
        start, self.start = self.start, 0
        yield from shared_out(self.global_batches(self.epoch)[start:], self.rank, self.world, self.accumulation)


def shared_out(batches: Iterable[np.ndarray], rank: int, world: int, accumulation: int) -> Iterator[list[int]]:
    """The micro-batches of a rank: of each global batch the rows r, r + world * accumulation, ... in turn."""
    for batch in batches:
        for micro in range(accumulation):
            yield batch[rank + world * micro :: world * accumulation].tolist()


class EvaluationOrder(Sampler[list[int]]):
    """Every row exactly once over all ranks, each rank the same number of batches, the longest rows first."""

    def __init__(
        self,
        lengths: np.ndarray,
        *,
        batch_tokens: PositiveInt,
        rank: NonNegativeInt = 0,
        world: PositiveInt = 1,
    ) -> None:
        lengths = np.asarray(lengths)
        if len(lengths) < world:
            raise ConfigError(f"{len(lengths)} rows cannot be scored by {world} processes", fix="Use fewer processes")
        rows = np.argsort(lengths, kind="stable")
        batches = np.split(rows, cut(lengths[rows], batch_tokens)[:-1])
        while len(batches) % world:  # ranks that meet at the epoch's end must have gone through as many batches
            batches.sort(key=len)
            batches[-1:] = [batches[-1][::2], batches[-1][1::2]]
        batches.sort(key=lambda batch: (-lengths[batch].max(), batch[0]))
        self.batches = [batch.tolist() for batch in batches[rank::world]]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

"""Raw text in full blocks: documents one after another, cut every T tokens, in an order of their own."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from lmlab.data.batching import shared_out
from lmlab.data.dataset import NONE, Batch
from lmlab.data.ragged import Ragged
from lmlab.errors import ConfigError
from lmlab.ranges import NonNegativeInt, PositiveInt
from lmlab.tokenizer import Tokenizer


class Blocks(Dataset[Batch]):
    """One split as a stream, [SEP] text [SEP] text ... [SEP]: a list of positions in it answers with their blocks.

    The stream is never written: a position is found among the texts' tokens, which are mapped from disk. A text whose
    `continues` is set goes on with the one before it, with no [SEP] between.
    """

    def __init__(
        self,
        texts: Ragged,
        continues: np.ndarray,
        *,
        max_length: PositiveInt,
        stride: PositiveInt | None = None,
        separate_documents: bool = False,
        size: dict[str, int],
        pad: int = Tokenizer.pad_id,
        separator: int = Tokenizer.sep_id,
    ) -> None:
        self.pad, self.separator = pad, separator
        self.separate_documents = separate_documents
        self.text, self.max_length, self.stride = texts, max_length, stride or max_length
        if self.stride > max_length:
            raise ConfigError(f"data.stride={stride} would leave out tokens of data.max_length={max_length}")
        separated = ~continues
        self.separated = separated
        self.begins = texts.offsets[:-1] + separated.cumsum() - separated  # of each text's [SEP], or of itself
        self.n_targets = int(texts.offsets[-1]) + int(separated.sum())  # all of the stream but its first [SEP]
        self.share = {name: size[name] / max(self.n_targets, 1) for name in ("bytes", "words")}

    @property
    def n_tokens(self) -> int:
        return self.n_targets

    @property
    def truncated_share(self) -> float:
        return 0.0

    def __len__(self) -> int:
        return self.n_targets

    def positions(self) -> np.ndarray:
        """Where the evaluated blocks begin: together they score every target once."""
        after_first = max(0, self.n_targets - self.max_length)
        return np.arange(1 + -(-after_first // self.stride)) * self.stride

    def __getitem__(self, positions: list[int]) -> Batch:
        index = np.asarray(positions, np.int64)
        columns = np.arange(self.max_length + 1)
        stream = self.stream(index[:, None] + columns)
        target = stream[:, 1:].copy()
        inside = index[:, None] + columns[1:] <= self.n_targets
        fresh = (columns[1:] > self.max_length - self.stride) | (index[:, None] == 0)
        target[~(inside & fresh)] = NONE
        scored = torch.from_numpy((target != NONE).sum(1).astype(np.float64))
        batch = Batch(
            rows=torch.from_numpy(index),
            tokens=torch.from_numpy(np.where(inside, stream[:, :-1], self.pad)),
            mask=torch.from_numpy(inside),
            target=torch.from_numpy(target),
            bytes=scored * self.share["bytes"],
            words=scored * self.share["words"],
        )
        if self.separate_documents:
            batch["documents"] = torch.from_numpy(self.document(index[:, None] + columns[:-1]))
        return batch

    def document(self, positions: np.ndarray) -> np.ndarray:
        """The number of the document that a position belongs to, as its [SEP] does that stands before it."""
        return self.separated.cumsum()[np.searchsorted(self.begins, positions, side="right") - 1]

    def stream(self, positions: np.ndarray) -> np.ndarray:
        """The tokens at any positions of the stream; [SEP] where it has ended."""
        text = np.searchsorted(self.begins, positions, side="right") - 1
        inside = positions - self.begins[text] - self.separated[text]  # -1 at a [SEP]
        is_token = (inside >= 0) & (inside < self.text.lengths[text])
        tokens = np.full(positions.shape, self.separator, np.int64)
        tokens[is_token] = self.text.values[(self.text.offsets[text] + inside)[is_token]]
        return tokens


class BlockOrder(Sampler[list[int]]):
    """The training blocks of an epoch as positions in the stream: a function of (seed, epoch) alone, as `BatchOrder`.

    Each epoch cuts the stream at another offset, so that no token is always without context. Blocks are shuffled, or
    lie in `lanes`: row r of every batch goes on where row r of the one before ended.
    """

    def __init__(
        self,
        n_targets: int,
        *,
        max_length: PositiveInt,
        batch_tokens: PositiveInt,
        seed: NonNegativeInt,
        lanes: bool = False,
        rank: NonNegativeInt = 0,
        world: PositiveInt = 1,
        accumulation: PositiveInt = 1,
    ) -> None:
        self.seed, self.max_length, self.lanes = seed, max_length, lanes
        self.rank, self.world, self.accumulation = rank, world, accumulation
        self.epoch, self.start = 0, 0  # start: global batches of the next epoch to skip
        self.sampler = self  # Lightning calls set_epoch on `.sampler` only: without it all epochs have one order
        self.offsets = max_length if n_targets >= 2 * max_length else 1
        self.n_blocks = max(1, (n_targets - self.offsets + 1) // max_length)
        self.rows = min(max(1, batch_tokens // max_length), self.n_blocks)
        self.check_shares(world, accumulation)

    @property
    def batches_per_epoch(self) -> int:
        """Global batches, hence optimizer steps, of every epoch."""
        return self.n_blocks // self.rows

    def check_shares(self, world: int, accumulation: int) -> None:
        """Raises ConfigError if the rows of a global batch do not divide among processes and micro-batches."""
        if self.rows % (world * accumulation):
            near = max(1, round(self.rows / (world * accumulation))) * world * accumulation
            raise ConfigError(
                f"a global batch of {self.rows} blocks cannot be shared by {world} processes x {accumulation} "
                f"accumulated batches",
                "data.batch_tokens",
                f"Set data.batch_tokens={near * self.max_length}, or use fewer processes",
            )

    def global_batches(self, epoch: int) -> np.ndarray:
        """(batches, rows) positions in the stream."""
        rng = np.random.default_rng([self.seed, epoch])
        offset, count = int(rng.integers(self.offsets)), self.batches_per_epoch
        if self.lanes:
            blocks = np.arange(self.rows * count).reshape(self.rows, count).T
        else:
            blocks = rng.permutation(self.n_blocks)[: self.rows * count].reshape(count, self.rows)
        return offset + blocks * self.max_length

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        """Micro-batches that this rank draws in an epoch."""
        return self.batches_per_epoch * self.accumulation

    def __iter__(self) -> Iterator[list[int]]:
        start, self.start = self.start, 0
        yield from shared_out(self.global_batches(self.epoch)[start:], self.rank, self.world, self.accumulation)


class BlockEvaluationOrder(Sampler[list[int]]):
    """Every evaluated block once over all ranks, each rank the same number of batches."""

    def __init__(
        self,
        positions: np.ndarray,
        *,
        rows: PositiveInt,
        rank: NonNegativeInt = 0,
        world: PositiveInt = 1,
    ) -> None:
        if len(positions) < world:
            raise ConfigError(f"{len(positions)} blocks cannot be scored by {world} processes", fix="Use fewer")
        self.sampler = self
        own = np.array_split(positions, world)[rank]
        least, most = len(positions) // world, -(-len(positions) // world)
        count = min(-(-most // rows), least)  # all ranks have as many batches
        self.batches = [part.tolist() for part in np.array_split(own, count)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.batches

"""Queries and the documents that answer them: each text of a row is a row of a batch of its own."""

from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b

import numpy as np
import torch
from torch.utils.data import Dataset

from lmlab.data.dataset import Batch, TokenizedRows
from lmlab.data.ragged import Ragged


class SideRows(Dataset[Batch]):
    """The rows of one split: indexed with a list of row numbers, it answers with a batch of each side."""

    def __init__(
        self, texts: Sequence[Ragged], sides: Sequence[TokenizedRows], labels: np.ndarray | None = None
    ) -> None:
        self.texts, self.sides, self.labels = texts, sides, labels
        self.lengths = np.sum([side.lengths for side in sides], axis=0)  # of all sides: what a row costs

    @cached_property
    def contents(self) -> np.ndarray:
        """(rows, sides): a number for each text; made when a batch first needs it."""
        return contents(self.texts)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def n_targets(self) -> int:
        return len(self)

    @property
    def n_tokens(self) -> int:
        return int(self.lengths.sum())

    @property
    def truncated_share(self) -> float:
        return float(np.any([side.truncated for side in self.sides], axis=0).mean()) if len(self) else 0.0

    def __getitem__(self, rows: list[int]) -> Batch:
        batch, *others = (side[rows] for side in self.sides)
        batch["positive"], batch["positive_mask"] = others[0]["tokens"], others[0]["mask"]
        if len(others) > 1:
            batch["negative"], batch["negative_mask"] = others[1]["tokens"], others[1]["mask"]
        batch["contents"] = torch.from_numpy(self.contents[rows])
        if self.labels is not None:
            labels = torch.from_numpy(self.labels[rows])
            batch.update({"score": labels} if labels.is_floating_point() else {"label": labels})
        return batch


def contents(texts: Sequence[Ragged]) -> np.ndarray:
    """(rows, sides): a number for each text, the same wherever the same tokens stand; two hashes in 2**64 are equal
    by chance once in 10**7 times of a million texts."""
    hashes = [[blake2b(side[row].tobytes(), digest_size=8).digest() for row in range(len(side))] for side in texts]
    numbers = np.frombuffer(b"".join(hash for side in hashes for hash in side), np.int64)
    return np.unique(numbers, return_inverse=True)[1].reshape(len(texts), -1).T.astype(np.int64)

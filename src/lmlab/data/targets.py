"""Tokenized sources with the targets that they are to become: translations, summaries."""

import numpy as np
import torch
from torch.utils.data import Dataset

from lmlab.data.dataset import NONE, Batch, TokenizedRows
from lmlab.data.ragged import Ragged, ranges
from lmlab.tokenizer import Frame, Tokenizer


class TargetRows(Dataset[Batch]):
    """The pairs of one split: indexed with a list of row numbers, it answers with their batch.

    A target is followed by [SEP] unless it was cut: what a text lacks its end, nobody is to learn to end there. With
    `joint` one network reads source and target as one text of `max_length` tokens at most: half of them, or fewer,
    are the target's, and the source has those that are left, or those that an answer of `answer_tokens` leaves.
    """

    def __init__(
        self,
        sources: Ragged,
        targets: Ragged,
        *,
        max_length: int,
        truncation: str = "head",
        joint: bool = False,
        answer_tokens: int = 0,
        references: Ragged | None = None,  # the targets' texts, for batches that answers are compared in
        pad: int = Tokenizer.pad_id,
        separator: int = Tokenizer.sep_id,
        frame: Frame = Tokenizer.frame,
    ) -> None:
        self.target, self.separator, self.references = targets, separator, references
        most = (max_length // 2 if joint else max_length) - 1  # beside its [SEP]
        self.kept = np.minimum(targets.lengths, most)
        self.ended = targets.lengths <= most
        self.target_lengths = self.kept + self.ended
        left = max_length - np.maximum(self.target_lengths, answer_tokens) if joint else max_length
        self.source = TokenizedRows([sources], max_length=left, truncation=truncation, pad=pad, frame=frame)
        self.lengths = self.source.lengths + self.target_lengths  # of both: what a batch costs

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def n_targets(self) -> int:
        return int(self.target_lengths.sum())

    @property
    def n_tokens(self) -> int:
        return int(self.lengths.sum())

    @property
    def truncated_share(self) -> float:
        return float((self.source.truncated | ~self.ended).mean()) if len(self) else 0.0

    @property
    def truncated_sides(self) -> dict[str, float]:
        """The share of sources, and of targets, that are cut."""
        cut = {"source": self.source.truncated, "target": ~self.ended}
        return {side: float(rows.mean()) if len(self) else 0.0 for side, rows in cut.items()}

    def __getitem__(self, rows: list[int]) -> Batch:
        batch = self.source[rows]
        index = np.asarray(rows, np.int64)
        kept, ended = self.kept[index], self.ended[index]
        shape = (len(index), int(self.target_lengths[index].max()))
        begins = np.arange(len(index)) * shape[1]  # of each target in the flat batch
        flat = np.full(shape[0] * shape[1], NONE, np.int64)
        flat[ranges(begins, kept)] = self.target.values[ranges(self.target.offsets[index], kept)]
        flat[(begins + kept)[ended]] = self.separator
        batch["target"] = torch.from_numpy(flat.reshape(shape))
        if self.references is not None:
            batch["reference"] = [self.references.text(row) for row in rows]
        return batch

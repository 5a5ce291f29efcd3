"""Tokenized rows and the batches made of them."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lmlab.data.ragged import Ragged, ranges
from lmlab.tokenizer import Frame, Tokenizer

NONE = -100  # a target that is not scored


class Batch(TypedDict):
    """What a corpus hands to a task: B texts, padded to the longest of them, T ids."""

    rows: Tensor  # (B,) int64, the number of each text in its split
    tokens: Tensor  # (B, T) int64: [CLS] text, or [CLS] text [SEP] pair, in the tokenizer's frame; of blocks [SEP] text
    mask: Tensor  # (B, T) bool, True where there is a real token
    label: NotRequired[Tensor]  # (B,) int64, the class; absent for texts to be predicted
    score: NotRequired[Tensor]  # (B,) float32, where labels are numbers on a scale
    positive: NotRequired[Tensor]  # (B, U) int64, where each text of a pair stands alone: the document of each query
    positive_mask: NotRequired[Tensor]  # (B, U) bool
    negative: NotRequired[Tensor]  # (B, V) int64, a document that it must not find, where the corpus has one
    negative_mask: NotRequired[Tensor]  # (B, V) bool
    contents: NotRequired[Tensor]  # (B, S) int64, a number for each text of a row, the same where the same text stands
    segments: NotRequired[Tensor]  # (B, T) int64, 1 where the second text of a pair stands; absent without pairs
    target: NotRequired[Tensor]  # (B, T) int64, of blocks the token after each; -100 where none is to be scored
    #                              (B, U) int64, of pairs source -> target the target, then [SEP] if all of it fits
    reference: NotRequired[list[str]]  # B targets as they were written, in the validation and test batches of pairs
    text: NotRequired[list[str]]  # their sources as they stand, in the same batches
    start: NotRequired[
        Tensor
    ]  # (B,) int64, of questions the first token of the answer, 0 where a window has none of it
    end: NotRequired[Tensor]  # (B,) int64, the last one
    passage: NotRequired[Tensor]  # (B, T) bool, True on the tokens of the context
    question: NotRequired[Tensor]  # (B,) int64, in batches that are scored the number of each window's question
    spans: NotRequired[Tensor]  # (B, T, 2) int64, where in the context each token begins and ends, in characters
    context: NotRequired[list[str]]  # B contexts as they were written
    answers: NotRequired[list[list[str]]]  # their right answers as they were written; none where there is none
    documents: NotRequired[Tensor]  # (B, T) int64, the number of each token's text, where texts do not see each other
    bytes: NotRequired[Tensor]  # (B,) float64, the share of its split's UTF-8 bytes that a block's targets stand for
    words: NotRequired[Tensor]  # (B,) float64, the same of its words
    cache: NotRequired[dict]  # what a network remembers of the text before the batch; its module puts it there


class TokenizedRows(Dataset[Batch]):
    """The rows of one split: indexed with a list of row numbers, it answers with their batch."""

    def __init__(
        self,
        sides: Sequence[Ragged],  # the texts and, for pairs, the second texts
        labels: np.ndarray | None = None,
        *,
        max_length: int | np.ndarray,  # of all rows, or of each
        truncation: str,
        pad: int = Tokenizer.pad_id,
        frame: Frame = Tokenizer.frame,
    ) -> None:
        self.pad, self.begin, self.between, self.end = pad, *(np.array(part, np.int64) for part in frame)
        self.text, self.pair = sides[0], sides[1] if len(sides) > 1 else None
        self.labels, self.truncation = labels, truncation
        full = self.text.lengths
        if self.pair is None:
            room = max_length - len(self.begin) - len(self.end)
            self.kept = np.minimum(full, room)
            self.pair_kept = np.zeros_like(full)
            self.truncated = full > self.kept
            self.lengths = self.kept + max_length - room
        else:
            room = max_length - len(self.begin) - len(self.between) - len(self.end)
            self.pair_kept = np.minimum(self.pair.lengths, np.maximum(room // 2, room - full))  # the longer one is cut
            self.kept = np.minimum(full, room - self.pair_kept)
            self.truncated = (full > self.kept) | (self.pair.lengths > self.pair_kept)
            self.lengths = self.kept + self.pair_kept + max_length - room

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
        return float(self.truncated.mean()) if len(self) else 0.0

    def __getitem__(self, rows: list[int]) -> Batch:
        index = np.asarray(rows, np.int64)
        lengths = self.lengths[index]
        shape = (len(index), int(lengths.max()))
        begins = np.arange(len(index)) * shape[1]  # of each row in the flat batch
        flat = np.full(shape[0] * shape[1], self.pad, np.int64)
        put(flat, begins, self.begin)
        put(flat, begins + lengths - len(self.end), self.end)
        self._copy(flat, begins + len(self.begin), self.text, index, self.kept[index])
        positions = np.arange(shape[1])
        batch = Batch(
            rows=torch.from_numpy(index),
            tokens=torch.from_numpy(flat.reshape(shape)),
            mask=torch.from_numpy(positions < lengths[:, None]),
        )
        if self.pair is not None:
            between = len(self.begin) + self.kept[index]
            put(flat, begins + between, self.between)
            second = between + len(self.between)
            self._copy(flat, begins + second, self.pair, index, self.pair_kept[index])
            segments = (positions >= second[:, None]) & (positions < lengths[:, None])
            batch["segments"] = torch.from_numpy(segments.astype(np.int64))
        if self.labels is not None:
            labels = torch.from_numpy(self.labels[index])
            batch.update({"score": labels} if labels.is_floating_point() else {"label": labels})
        return batch

    def _copy(self, flat: np.ndarray, to: np.ndarray, source: Ragged, index: np.ndarray, kept: np.ndarray) -> None:
        """Put the first `kept` tokens of each row at `to`, or its tail, or both, where it is cut."""
        first, last = source.offsets[index], source.offsets[index + 1]
        head = kept
        if self.truncation != "head":  # a quarter head, three quarters tail: Sun et al., 2019, section 5.3.1
            head = np.where(last - first > kept, kept // 4 if self.truncation == "head_tail" else 0, kept)
        flat[ranges(to, head)] = source.values[ranges(first, head)]
        if self.truncation != "head":
            flat[ranges(to + head, kept - head)] = source.values[ranges(last - (kept - head), kept - head)]


def put(flat: np.ndarray, at: np.ndarray, ids: np.ndarray) -> None:
    """Write the same few ids at many places."""
    flat[at[:, None] + np.arange(len(ids))] = ids

"""Questions, each with the windows of a context in which its answer is looked for, and what stands where in it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from lmlab.data.dataset import Batch, put
from lmlab.data.ragged import Ragged, ranges
from lmlab.tokenizer import Frame, Tokenizer

SPACES = np.array([code for code in range(0x3001) if chr(code).isspace()], np.uint32)


class QuestionWindows(Dataset[Batch]):
    """The questions of one split beside their contexts: indexed with numbers of windows, it answers with their batch.

    A context longer than the model becomes several windows, each `stride` tokens on from the one before but no more
    than it holds; the last one ends where the context does. In a window without the whole answer it is at 0, the first
    token of all (Devlin et al., 2019, section 4.3).
    """

    def __init__(
        self,
        questions: Ragged,
        contexts: Ragged,
        spans: np.ndarray,  # (tokens of all contexts, 2): the characters where each begins and ends
        answers: Sequence[Sequence[tuple[int, str]]],
        *,
        max_length: int,
        max_question: int,
        stride: int,
        texts: Ragged | None = None,  # the contexts as they stand, for batches that are scored
        pad: int = Tokenizer.pad_id,
        frame: Frame = Tokenizer.frame,
    ) -> None:
        self.questions, self.contexts, self.spans, self.answers = questions, contexts, spans, answers
        self.texts, self.pad = texts, pad
        self.begin, self.between, self.end = (np.array(part, np.int64) for part in frame)
        framed = sum(map(len, frame))
        self.asked = np.minimum(questions.lengths, min(max_question, (max_length - framed) // 2))
        room = max_length - framed - self.asked  # for the context, by question
        step, left = np.minimum(stride, room), np.maximum(contexts.lengths - room, 0)
        self.n_windows = 1 + -(-left // step)
        self.question = np.repeat(np.arange(len(questions)), self.n_windows)
        place = ranges(np.zeros_like(self.n_windows), self.n_windows) * step[self.question]
        self.first = np.minimum(place, left[self.question])  # of the context's tokens in each window
        self.kept = np.minimum(contexts.lengths, room)[self.question]
        self.lengths = framed + self.asked[self.question] + self.kept
        found = np.array([self._located(row) for row in range(len(questions))], np.int64).reshape(-1, 2)
        inside = found[self.question] - self.first[:, None]  # (windows, 2)
        whole = (inside[:, 0] >= 0) & (inside[:, 1] < self.kept) & (found[self.question, 0] >= 0)
        before = len(self.begin) + self.asked[self.question] + len(self.between)
        self.targets = np.where(whole[:, None], inside + before[:, None], 0)

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
        """Of the questions; a long context is read in several windows."""
        return float((self.asked < self.questions.lengths).mean()) if len(self) else 0.0

    def _located(self, row: int) -> tuple[int, int]:
        """The first and the last token of a question's first answer; -1 twice if it has none."""
        if row >= len(self.answers) or not self.answers[row]:
            return -1, -1
        begin, words = self.answers[row][0]
        spans = self.spans[self.contexts.offsets[row] : self.contexts.offsets[row + 1]]
        first = int(np.searchsorted(spans[:, 1], begin, "right"))
        last = int(np.searchsorted(spans[:, 0], begin + len(words), "left")) - 1
        return (first, last) if first <= last else (-1, -1)  # of signs that the tokenizer leaves out

    def __getitem__(self, rows: list[int]) -> Batch:
        index = np.asarray(rows, np.int64)
        question, kept, lengths = self.question[index], self.kept[index], self.lengths[index]
        asked = self.asked[question]
        shape = (len(index), int(lengths.max()))
        begins = np.arange(len(index)) * shape[1]  # of each window in the flat batch
        flat = np.full(shape[0] * shape[1], self.pad, np.int64)
        put(flat, begins, self.begin)
        put(flat, begins + lengths - len(self.end), self.end)
        words = ranges(self.questions.offsets[question], asked)
        flat[ranges(begins + len(self.begin), asked)] = self.questions.values[words]
        put(flat, begins + len(self.begin) + asked, self.between)
        second = len(self.begin) + asked + len(self.between)
        to = ranges(begins + second, kept)
        read = ranges(self.contexts.offsets[question] + self.first[index], kept)
        flat[to] = self.contexts.values[read]
        positions = np.arange(shape[1])
        passage = (positions >= second[:, None]) & (positions < (second + kept)[:, None])
        segments = (positions >= second[:, None]) & (positions < lengths[:, None])
        batch = Batch(
            rows=torch.from_numpy(index),
            tokens=torch.from_numpy(flat.reshape(shape)),
            mask=torch.from_numpy(positions < lengths[:, None]),
            segments=torch.from_numpy(segments.astype(np.int64)),
            passage=torch.from_numpy(passage),
            start=torch.from_numpy(self.targets[index, 0]),
            end=torch.from_numpy(self.targets[index, 1]),
        )
        if self.texts is not None:
            spans = np.zeros((len(flat), 2), np.int64)
            spans[to] = self.spans[read]
            batch["spans"] = torch.from_numpy(spans.reshape(*shape, 2))
            batch["question"] = torch.from_numpy(question)
            batch["context"] = [self.texts.text(row) for row in question]
            batch["answers"] = [[words for _, words in self.answers[row]] if self.answers else [] for row in question]
        return batch


def trimmed(offsets: Sequence[tuple[int, int]], text: str) -> np.ndarray:
    """Spans (T, 2) without the white space that some tokenizers count to a token; one of white space alone is empty."""
    spans = np.array(offsets, np.int64).reshape(-1, 2)
    blank = np.isin(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32), SPACES)
    places = np.arange(len(blank) + 1)
    following = np.append(np.where(blank, len(blank), places[:-1]), len(blank))  # the first that is no blank
    following = np.minimum.accumulate(following[::-1])[::-1]
    before = np.maximum.accumulate(np.append(0, np.where(blank, 0, places[1:])))  # after the last that is none
    begins = np.minimum(following[spans[:, 0]], spans[:, 1])
    return np.stack((begins, np.maximum(before[spans[:, 1]], begins)), axis=1)

"""Answers that are spans of a context, and those of several windows as those of one question."""

import math
from typing import Any, NamedTuple, Optional

LEAST = -1e4  # the margin of a question that no span can answer: a number, as files and plots want it


class Answer(NamedTuple):
    """A slice of the context, and the log-probability of its first and its last token."""

    score: float
    begin: int
    end: int
    text: str

    @classmethod
    def of(cls, context: str, begin: int, end: int, score: float) -> "Answer":
        """The slice without white space around it."""
        text = context[begin:end]
        begin += len(text) - len(text.lstrip())
        return cls(score, begin, begin + len(text.strip()), text.strip())

    def told(self) -> dict[str, Any]:
        return {
            "answer": self.text,
            "begin": self.begin,
            "end": self.end,
            "probability": round(math.exp(self.score), 6),
        }


class Answers(NamedTuple):
    """What is found in some windows of a question: spans, likeliest first, and the least log-probability of none."""

    best: list[Answer]
    without: float
    right: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return self.best[0].text if self.best else ""

    @property
    def margin(self) -> float:
        """By how much the best span is likelier than none."""
        return max(self.best[0].score - self.without, LEAST) if self.best else LEAST

    def beside(self, other: Optional["Answers"], n: int = 1) -> "Answers":
        """The n best of both; a span that stands in two windows counts once."""
        if other is None:
            return self
        spans: dict[tuple[int, int], Answer] = {}
        for answer in sorted((*self.best, *other.best), key=lambda answer: (-answer.score, answer.begin, answer.end)):
            spans.setdefault((answer.begin, answer.end), answer)
        return Answers([*spans.values()][:n], min(self.without, other.without), self.right)

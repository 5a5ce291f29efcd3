"""Beam search: of each source the likeliest texts, several kept side by side until none of them can be beaten."""

from collections.abc import Collection
from typing import Literal, NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmlab.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt

IMPOSSIBLE = -1.0e9  # a score that none has; sums of it stay finite
EarlyStopping = Literal["best", "full", "never"]


class Hypothesis(NamedTuple):
    """A text that was written, without what ends it, and its score."""

    tokens: list[int]
    score: float


class Writer(Protocol):
    """A network that writes: what it has read and written so far is its own affair.

    Rows are the beams of the first source, those of the second, and so on.
    """

    def step(self, tokens: Int[Tensor, "N t"]) -> Float[Tensor, "N V"]:
        """Logits of what follows the rows, each of which goes on with its new tokens."""
        ...

    def keep(self, rows: Int[Tensor, "M"], sources: Int[Tensor, "b"]) -> None:
        """Go on with copies of these rows alone; `sources` are those that are left."""
        ...

    def attention(self) -> Float[Tensor, "N S"] | None:
        """Where in its source each row looked in the last step; None of a network that does not tell."""
        ...


class Beams:
    """The state of one search over B sources with K beams each.

    A step scores all continuations of a source's beams by their log-probability and looks at the 2 K best. Of those
    that end, which the first K alone may, the best K are kept by log-probability / length ** length_penalty (Wu et
    al., 2016, section 7, with (5 + n) / 6 for n; here as transformers has it, whose results these are token for
    token); the others go on. A source is done when its K kept texts cannot be beaten: by the best beam as it stands
    (`best`), at once (`full`), or by the best beam if it goes on for ever without loss (`never`).
    """

    def __init__(
        self,
        limits: Int[Tensor, "B"],
        beams: PositiveInt,
        *,
        first: int,
        stop: int,
        length_penalty: float,
        coverage_penalty: NonNegativeFloat,
        early_stopping: EarlyStopping,
    ) -> None:
        n_sources, device = len(limits), limits.device
        self.beams, self.stop, self.limits = beams, stop, limits  # limits: tokens of a source's longest text
        self.length_penalty, self.coverage_penalty = length_penalty, coverage_penalty
        self.early_stopping: EarlyStopping = "full" if beams == 1 else early_stopping
        self.sources = torch.arange(n_sources, device=device)  # that are not done
        self.tokens = torch.full((n_sources, beams, 1), first, device=device)  # (b, K, 1 + length)
        self.scores = torch.full((n_sources, beams), IMPOSSIBLE, device=device)
        self.scores[:, 0] = 0.0  # all beams begin alike: one of them is enough
        self.kept_scores = torch.full((n_sources, beams), IMPOSSIBLE, device=device)
        self.kept = torch.full((n_sources, beams, 1), first, device=device)  # (b, K, as long as any), filled with stop
        self.coverage: Tensor | None = None  # (b, K, S): how much each token of the source was looked at
        self.done: list[list[Hypothesis]] = [[] for _ in range(n_sources)]

    @property
    def length(self) -> int:
        """How many tokens the beams have written."""
        return self.tokens.shape[2] - 1

    @property
    def rows(self) -> Int[Tensor, "N length"]:
        """What the beams have written, the first token among it, as rows."""
        return self.tokens.flatten(0, 1)

    def advance(
        self, logits: Float[Tensor, "N V"], total: Float[Tensor, "N 1"], attention: Float[Tensor, "N S"] | None
    ) -> tuple[Tensor, Tensor]:
        """Take a step by the log-probabilities `logits - total`; the rows (of those before) to go on with, and the
        places of the sources that are not done."""
        n_sources, n_each = len(self.sources), 2 * self.beams
        best, ids = highest(logits, min(n_each, logits.shape[1]))  # of each beam: no more of one can be chosen
        best = best - total + self.scores.flatten()[:, None]
        scores, place = best.view(n_sources, -1).topk(n_each, dim=1)  # (b, 2 K)
        beam = place // ids.shape[1]
        token = ids.view(n_sources, -1).gather(1, place)
        tokens = torch.cat((picked(self.tokens, beam), token.unsqueeze(-1)), dim=-1)  # (b, 2 K, 1 + length)
        if attention is not None:
            self.coverage = self.covered(attention)
        coverage = None if self.coverage is None else picked(self.coverage, beam)
        length = self.length + 1
        ends = (token == self.stop) | (length >= self.limits)[:, None]
        self.keep_ended(scores, tokens, ends, coverage, length)
        open_scores, order = scores.masked_fill(ends, IMPOSSIBLE).topk(self.beams, dim=1)
        beam = beam.gather(1, order)
        self.scores, self.tokens = open_scores, picked(tokens, order)
        self.coverage = None if coverage is None else picked(coverage, order)
        left = torch.nonzero(~self.finished(length)).flatten()
        self.leave(left)
        rows = beam + torch.arange(n_sources, device=beam.device)[:, None] * self.beams
        return rows[left].flatten(), left

    def covered(self, attention: Float[Tensor, "N S"]) -> Float[Tensor, "b K S"]:
        attention = attention.view(len(self.sources), self.beams, -1)
        return attention if self.coverage is None else self.coverage + attention

    def keep_ended(
        self, scores: Tensor, tokens: Tensor, ends: Bool[Tensor, "b C"], coverage: Tensor | None, length: int
    ) -> None:
        """Of the texts that were kept and those that end now, keep the best."""
        final = scores / length**self.length_penalty
        if coverage is not None and self.coverage_penalty:
            looked_at = coverage.clamp(min=1e-9, max=1.0).log() * (coverage > 0)  # padding is never looked at
            final = final + self.coverage_penalty * looked_at.sum(-1)
        final = final.masked_fill(~ends, IMPOSSIBLE)
        final[:, self.beams :] = IMPOSSIBLE  # they only stand in for beams that end
        kept = torch.nn.functional.pad(self.kept, (0, 1), value=self.stop)
        self.kept_scores, order = torch.cat((self.kept_scores, final), dim=1).topk(self.beams, dim=1)
        self.kept = picked(torch.cat((kept, tokens), dim=1), order)

    def finished(self, length: int) -> Bool[Tensor, "b"]:
        full = (self.kept_scores > IMPOSSIBLE / 2).all(1)
        if self.early_stopping == "full":
            return full | (length >= self.limits)
        reach = torch.full_like(self.limits, length)
        if self.early_stopping == "never" and self.length_penalty > 0:
            reach = self.limits
        beaten = self.scores[:, 0] / reach**self.length_penalty <= self.kept_scores[:, -1]
        return (full & beaten) | (length >= self.limits)

    def leave(self, left: Int[Tensor, "b"]) -> None:
        """Put the sources that are done aside, so that no more is computed for them."""
        if len(left) == len(self.sources):
            return
        is_left = torch.zeros(len(self.sources), dtype=torch.bool, device=left.device)
        is_left[left] = True
        for row in torch.nonzero(~is_left).flatten().tolist():
            told = zip(self.kept[row].tolist(), self.kept_scores[row].tolist(), strict=True)
            self.done[int(self.sources[row])] = [
                Hypothesis(self.text(tokens), score) for tokens, score in told if score > IMPOSSIBLE / 2
            ]
        for name in ("sources", "limits", "tokens", "scores", "kept", "kept_scores"):
            setattr(self, name, getattr(self, name)[left])
        self.coverage = None if self.coverage is None else self.coverage[left]

    def text(self, tokens: list[int]) -> list[int]:
        """What was written, without its first token and up to what ends it."""
        return tokens[1 : tokens.index(self.stop, 1) if self.stop in tokens[1:] else None]


@torch.inference_mode()
def beam_search(
    writer: Writer,
    limits: Int[Tensor, "B"],
    *,
    beams: PositiveInt,
    first: int,
    stop: int,
    vocabulary: PositiveInt,
    never: Collection[int] = (),
    min_length: NonNegativeInt = 0,
    length_penalty: float = 1.0,
    coverage_penalty: NonNegativeFloat = 0.0,
    no_repeat_ngram: NonNegativeInt = 0,
    early_stopping: EarlyStopping = "best",
) -> list[list[Hypothesis]]:
    """Of each source the `beams` best texts, the best first.

    A text has `limits` tokens at most, `stop` among them, and `min_length` before that. None repeats a sequence of
    `no_repeat_ngram` tokens; `coverage_penalty` times log(min(attention, 1)), summed over the source's tokens, is
    added to the score of each (Wu et al., 2016, section 7). No id from `vocabulary` on is written, nor one of `never`.
    """
    state = Beams(
        limits,
        beams,
        first=first,
        stop=stop,
        length_penalty=length_penalty,
        coverage_penalty=coverage_penalty,
        early_stopping=early_stopping,
    )
    fresh = state.rows
    while len(state.sources):
        logits = writer.step(fresh).float()
        total = logits.logsumexp(1, keepdim=True)  # before anything is left out, as transformers has it
        logits[:, vocabulary:] = IMPOSSIBLE
        logits[:, list(never)] = IMPOSSIBLE
        if state.length < min_length:
            logits[:, stop] = IMPOSSIBLE
        if no_repeat_ngram:
            logits.masked_fill_(repeating(state.rows, no_repeat_ngram, logits.shape[1]), IMPOSSIBLE)
        rows, left = state.advance(logits, total, writer.attention() if coverage_penalty else None)
        writer.keep(rows, left)
        fresh = state.rows[:, -1:]
    return state.done


def highest(logits: Float[Tensor, "N V"], k: PositiveInt) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
    """The k highest logits of each row, and their ids, as topk has them, which takes several times longer.

    The vocabulary is laid in columns; the highest are in the k with the highest maxima, or in what is left over.
    """
    size = int((logits.shape[1] / k) ** 0.5)  # of a column: as many columns as there are candidates in k of them
    n_columns = logits.shape[1] // max(1, size)
    if size < 2 or n_columns < k:
        return logits.topk(k, dim=1)
    inside = logits[:, : size * n_columns].unflatten(1, (size, n_columns))
    columns = inside.amax(1).topk(k, dim=1, sorted=False).indices  # (N, k)
    steps = torch.arange(size, device=logits.device) * n_columns
    left_over = torch.arange(size * n_columns, logits.shape[1], device=logits.device).expand(len(logits), -1)
    ids = torch.cat(((columns[:, :, None] + steps).flatten(1), left_over), dim=1)  # (N, candidates)
    best, places = logits.gather(1, ids).topk(k, dim=1)
    return best, ids.gather(1, places)


def picked(of: Tensor, places: Int[Tensor, "b C"]) -> Tensor:
    """Of each source the parts at these places."""
    return of[torch.arange(len(places), device=places.device)[:, None], places]


def repeating(rows: Int[Tensor, "N length"], n: PositiveInt, vocabulary: PositiveInt) -> Bool[Tensor, "N V"]:
    """The tokens with which a row would write n tokens that it has written before (Paulus et al., 2018, 2.5)."""
    found = torch.zeros(len(rows), vocabulary + 1, dtype=torch.bool, device=rows.device)
    if rows.shape[1] >= n:
        windows = rows.unfold(1, n, 1)  # (N, W, n)
        again = (windows[:, :, : n - 1] == rows[:, None, rows.shape[1] - n + 1 :]).all(-1)
        found.scatter_(1, windows[:, :, -1].masked_fill(~again, vocabulary), True)
    return found[:, :vocabulary]

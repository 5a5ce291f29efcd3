"""How a network answers a text with another: what is read once, what is written step by step, and the best of it."""

from collections.abc import Collection
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmlab.beams import EarlyStopping, Hypothesis, beam_search
from lmlab.errors import ConfigError
from lmlab.nn.network import Network
from lmlab.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Probability
from lmlab.sampling import allowed, choose


class Decoding:
    """Options of an answer: the likeliest by beam search (greedy with one beam), or drawn at a `temperature` above 0.

    A text has at most `max_length` tokens, and `length_ratio` times those of its source and ten more, what ends it
    among them; a model that has learned little would else write on and on.
    """

    def __init__(
        self,
        *,
        beams: PositiveInt = 4,
        n_best: PositiveInt = 1,
        length_penalty: float = 1.0,
        coverage_penalty: NonNegativeFloat = 0.0,
        no_repeat_ngram: NonNegativeInt = 0,
        early_stopping: EarlyStopping = "best",
        min_length: NonNegativeInt = 0,
        max_length: PositiveInt = 256,
        length_ratio: PositiveFloat | None = 2.0,
        temperature: NonNegativeFloat = 0.0,
        top_k: PositiveInt | None = None,
        top_p: Probability | None = None,
        min_p: Probability | None = None,
    ) -> None:
        if n_best > beams and not temperature:
            fix = "Raise task.decoding.beams"
            raise ConfigError(f"the {n_best} best of {beams} beams", "task.decoding.n_best", fix)
        if temperature and (coverage_penalty or no_repeat_ngram):
            what = "coverage_penalty and no_repeat_ngram are of beam search, and a temperature draws"
            raise ConfigError(what, "task.decoding", "Set task.decoding.temperature=0")
        self.n_best, self.max_length, self.length_ratio = n_best, max_length, length_ratio
        self.min_length, self.temperature = min_length, temperature
        self.filters = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
        self.search: dict[str, Any] = {
            "beams": beams,
            "min_length": min_length,
            "length_penalty": length_penalty,
            "coverage_penalty": coverage_penalty,
            "no_repeat_ngram": no_repeat_ngram,
            "early_stopping": early_stopping,
        }

    def limits(self, lengths: Int[Tensor, "B"]) -> Int[Tensor, "B"]:
        """How many tokens an answer to a source of each length may have."""
        if self.length_ratio is None:
            return torch.full_like(lengths, self.max_length)
        return (lengths * self.length_ratio + 10).long().clamp(max=self.max_length)

    @torch.inference_mode()
    def answers(
        self,
        network: Network,
        tokens: Int[Tensor, "B S"],
        mask: Bool[Tensor, "B S"],
        *,
        alone: bool = False,
        first: int,
        stop: int,
        vocabulary: PositiveInt,
        never: Collection[int] = (),
        generator: torch.Generator | None = None,
    ) -> list[list[Hypothesis]]:
        """Of each source the `n_best` texts, the best first.

        `alone`: a decoder without an encoder goes on from the source, which it reads as the beginning of its text.
        What it writes begins after `first` and ends before `stop`; no other id from `vocabulary` on or of `never`.
        """
        limits = self.limits(mask.sum(1))
        if network.context is not None:
            read = mask.sum(1) if alone else torch.zeros_like(limits)
            limits = torch.minimum(limits, network.context - read).clamp(min=1)
        options: dict[str, Any] = {"first": first, "stop": stop, "vocabulary": vocabulary, "never": never}
        found: list[list[Hypothesis]] = [[] for _ in tokens]
        for rows in alike(mask) if alone else [torch.arange(len(tokens), device=tokens.device)]:
            read, seen = tokens[rows], mask[rows]
            if self.temperature:
                writer: Reader = self.reader(network, read, seen, alone, self.n_best)
                written = self.drawn(writer, limits[rows].repeat_interleave(self.n_best), generator, **options)
                texts = [written[n : n + self.n_best] for n in range(0, len(written), self.n_best)]
            else:
                writer = self.reader(network, read, seen, alone, self.search["beams"])
                texts = beam_search(writer, limits[rows], **self.search, **options)
            for row, some in zip(rows.tolist(), texts, strict=True):
                found[row] = some[: self.n_best]
        return found

    def reader(self, network: Network, tokens: Tensor, mask: Tensor, alone: bool, copies: int) -> "Reader":
        looks = bool(self.search["coverage_penalty"]) and not self.temperature
        if looks and (alone or not network.alignments):
            what = f"{type(network).__name__} does not tell where in a source it looks"
            raise ConfigError(what, "task.decoding.coverage_penalty", "Set it to 0")
        if alone:
            return Continuation(network, tokens[:, : int(mask[0].sum())], copies)
        return Reader(network, tokens, mask, copies, looks=looks)

    def drawn(
        self,
        writer: "Reader",
        limits: Int[Tensor, "N"],
        generator: torch.Generator | None,
        *,
        first: int,
        stop: int,
        vocabulary: int,
        never: Collection[int],
    ) -> list[Hypothesis]:
        """A text for each row, and the sum of the log-probabilities it was drawn with."""
        n = len(limits)
        ended, scores = torch.zeros_like(limits, dtype=torch.bool), torch.zeros(n, device=limits.device)
        written = torch.full((n, 1), first, device=limits.device)
        while not ended.all():
            logits = allowed(writer.step(written[:, -1:]).float(), vocabulary, never)
            if written.shape[1] <= self.min_length:
                logits[:, stop] = -torch.inf
            chosen = choose(logits, self.temperature, generator=generator, **self.filters)  # type: ignore[arg-type]
            told = logits.log_softmax(-1).gather(1, chosen[:, None]).squeeze(1)
            scores = scores + told.masked_fill(ended, 0.0)
            written = torch.cat((written, chosen.masked_fill(ended, stop)[:, None]), dim=1)
            ended = ended | (chosen == stop) | (written.shape[1] > limits)
        rows, sizes = written[:, 1:].tolist(), limits.tolist()
        texts = [row[: row.index(stop) if stop in row else size] for row, size in zip(rows, sizes, strict=True)]
        return [Hypothesis(text, score) for text, score in zip(texts, scores.tolist(), strict=True)]


class Reader:
    """An encoder-decoder that has read its sources once; beams of a source share what the encoder made of it."""

    def __init__(self, network: Network, tokens: Tensor, mask: Tensor, copies: int, *, looks: bool = False) -> None:
        self.network, self.copies = network, copies
        self.memory: Tensor | None = network.encode(tokens, mask)
        self.mask: Tensor | None = mask
        self.cache: dict[str, Any] = {"alignment": None} if looks else {}

    def step(self, tokens: Int[Tensor, "N t"]) -> Float[Tensor, "N V"]:
        states = self.network.decode(tokens, self.memory, self.mask, self.cache)
        return self.network.logits(states[:, -1:])[:, 0]

    def keep(self, rows: Int[Tensor, "M"], sources: Int[Tensor, "b"]) -> None:
        all_left = self.memory is None or len(sources) == len(self.memory)
        if not all_left and self.memory is not None and self.mask is not None:
            self.memory, self.mask = self.memory[sources], self.mask[sources]
        if not all_left or not torch.equal(rows, torch.arange(len(rows), device=rows.device)):
            reorder(self.cache, rows, None if all_left else sources)

    def attention(self) -> Float[Tensor, "N S"] | None:
        alignment = self.cache.get("alignment")
        return None if alignment is None else alignment[:, -1]


class Continuation(Reader):
    """A decoder that reads sources of one length as the beginnings of the texts it writes."""

    def __init__(self, network: Network, tokens: Int[Tensor, "B S"], copies: int) -> None:
        self.network, self.memory, self.mask, self.cache = network, None, None, {}
        network.decode(tokens, cache=self.cache)
        rows = torch.arange(len(tokens), device=tokens.device).repeat_interleave(copies)
        reorder(self.cache, rows, None)


def reorder(cache: dict, rows: Int[Tensor, "M"], sources: Int[Tensor, "b"] | None) -> None:
    """Let each row of a cache be that of `rows`; what is a memory's, by its key, belongs to `sources`."""
    for key, value in cache.items():
        if isinstance(value, dict):
            reorder(value, rows, sources)
        elif isinstance(value, Tensor):
            if not (isinstance(key, str) and key.startswith("memory")):
                cache[key] = chosen(value, rows, cache.get("length"))
            elif sources is not None:
                cache[key] = value.index_select(0, sources)
        elif hasattr(value, "reorder"):
            value.reorder(rows, sources)


def chosen(value: Tensor, rows: Int[Tensor, "M"], length: int | None) -> Tensor:
    """A tensor's `rows`; in a buffer of keys or values, (B, H, room, d), as far as it is filled and in place: most rows
    stay where they are."""
    if len(rows) != len(value) or value.ndim != 4 or length is None:
        return value.index_select(0, rows)
    moved = torch.nonzero(rows != torch.arange(len(rows), device=rows.device)).flatten()
    filled = value[:, :, :length]
    filled[moved] = filled[rows[moved]]
    return value


def alike(mask: Bool[Tensor, "B S"]) -> list[Int[Tensor, "b"]]:
    """The rows of each length: beside each other they need no padding."""
    lengths = mask.sum(1)
    return [torch.nonzero(lengths == length).flatten() for length in lengths.unique().tolist()]

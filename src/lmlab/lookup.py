"""Guesses of how a text goes on, from how it went on before (Saxena, 2023, "Prompt lookup decoding")."""

from collections.abc import Sequence

from lmlab.ranges import NonNegativeInt, PositiveInt


class Lookup:
    """Where each run of 1 to `longest` tokens of a growing text last went on."""

    def __init__(self, tokens: Sequence[int], longest: PositiveInt = 3) -> None:
        self.tokens: list[int] = []
        self.longest = longest
        self.after: dict[tuple[int, ...], int] = {}  # the run -> where what followed it begins
        for token in tokens:
            self.append(token)

    def append(self, token: int) -> None:
        end = len(self.tokens)
        self.after |= {tuple(self.tokens[end - n : end]): end for n in range(1, min(self.longest, end) + 1)}
        self.tokens.append(token)

    def guess(self, most: NonNegativeInt) -> list[int]:
        """What followed the longest run that the text ends with and held before, repeated if the text ends in it."""
        end = len(self.tokens)
        for n in range(min(self.longest, end - 1), 0, -1):
            start = self.after.get(tuple(self.tokens[end - n :]))
            if start is not None:
                following = self.tokens[start:]
                return [following[i % len(following)] for i in range(most)]
        return []


def rewind(cache: dict, length: int) -> None:
    """Let a cache forget all tokens but its first `length`; what stands behind them is written over."""
    for name, value in cache.items():
        if name == "length":
            cache[name] = length
        elif isinstance(value, dict):
            rewind(value, length)

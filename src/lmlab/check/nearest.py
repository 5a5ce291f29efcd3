"""Did you mean: the nearest of the words that would have been right."""

from collections.abc import Iterable
from difflib import SequenceMatcher


def nearest(word: str, candidates: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The candidate most like `word`, or None where none is near; a.b and a/b also match by their last part."""

    def similarity(candidate: str) -> float:
        whole = SequenceMatcher(None, word, candidate).ratio()
        leaf = SequenceMatcher(None, last_part(word), last_part(candidate)).ratio()
        same_root = word.partition(".")[0] == candidate.partition(".")[0]
        return max(whole, leaf - (0 if same_root else 0.05)) + whole / 100  # the whole key settles ties

    best = max(candidates, key=similarity, default=None)
    return best if best is not None and similarity(best) >= cutoff else None


def last_part(name: str) -> str:
    return name.replace("/", ".").rpartition(".")[2]


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`Did you mean x? The choices are a, b, x`, without the first half where nothing is near."""
    choices = sorted(candidates)
    guess = nearest(word, choices)
    listed = f"The choices are {', '.join(choices)}" if choices else ""
    return f"Did you mean {guess}? {listed}" if guess else listed

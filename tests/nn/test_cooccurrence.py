"""Co-occurrences beside a loop over all pairs of places."""

from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest

from lmlab.nn import cooccurrence


def brute_force(values, offsets, window, ordinary):
    counts = defaultdict(Fraction)
    for begin, end in zip(offsets[:-1], offsets[1:], strict=True):
        for place in range(begin, end):
            for other in range(place + 1, min(place + window + 1, end)):
                pair = sorted((int(values[place]), int(values[other])))
                if pair[0] >= ordinary:
                    counts[tuple(pair)] += Fraction(1, other - place)
    return counts


@pytest.mark.parametrize("window", [1, 4, 10])
@pytest.mark.parametrize("at_once", [50, 1 << 24])
def test_counts_are_those_of_a_loop(window, at_once, monkeypatch):
    monkeypatch.setattr(cooccurrence, "PAIRS_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    values = rng.zipf(1.3, 700) % 60
    offsets = np.append(0, np.sort(rng.integers(0, 700, 9)))
    found = cooccurrence.cooccurrences(values, offsets, window, ordinary=5)
    expected = brute_force(values, offsets, window, 5)
    pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert pairs == sorted(expected)
    assert found.weight.tolist() == pytest.approx([float(expected[pair]) for pair in pairs], rel=1e-15)


def test_no_text_has_no_pairs():
    found = cooccurrence.cooccurrences(np.empty(0, np.int64), np.array([0]), 5)
    assert len(found.first) == len(found.weight) == 0


def test_a_vocabulary_too_large_is_refused():
    with pytest.raises(ValueError, match="63 bits"):
        cooccurrence.cooccurrences(np.array([2**31]), np.array([0, 1]), 5)

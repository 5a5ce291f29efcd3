"""Counts beside a dictionary's, on random documents over small and huge vocabularies."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from lmlab.errors import DataError
from lmlab.nn.ngram_counts import count_ngrams

BEGIN, END = 2, 3


def corpus(documents):
    """The documents as one array of ids, and where each begins."""
    lengths = [len(document) for document in documents]
    return np.array([token for document in documents for token in document], dtype=np.int64), np.cumsum([0, *lengths])


def random_documents(vocab_size, number=60, longest=12, seed=0):
    draw = np.random.default_rng(seed)
    alphabet = np.concatenate(([1], draw.integers(4, vocab_size, 9)))
    return [draw.choice(alphabet, draw.integers(0, longest)).tolist() for _ in range(number)]


def counted(documents, order, vocab_size=20):
    return count_ngrams(*corpus(documents), order, vocab_size=vocab_size, begin=BEGIN, end=END)


def ngrams(counts, order):
    """The tokens of every row, spelled out from the keys alone."""
    if order == 1:
        return [(token,) for token in range(counts.vocab_size)]
    shorter = ngrams(counts, order - 1)
    return [(*shorter[key // counts.vocab_size], key % counts.vocab_size) for key in counts.keys[order - 1].tolist()]


def naive(documents, order):
    """Counts, and the distinct words to the left, of all n-grams of one order."""
    found, left = Counter(), defaultdict(set)
    for document in documents:
        tokens = [BEGIN, *document, END]
        for start in range(len(tokens) - order + 1):
            ngram = tuple(tokens[start : start + order])
            found[ngram] += 1
            if start:
                left[ngram].add(tokens[start - 1])
    return found, left


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("vocab_size", [20, 250_000])
def test_counts_are_those_of_a_dictionary(order, vocab_size):
    documents = random_documents(vocab_size)
    counts = counted(documents, order, vocab_size)
    for length in range(1, order + 1):
        expected, left = naive(documents, length)
        rows, seen, adjusted = ngrams(counts, length), counts.counts[length - 1], counts.adjusted(length)
        assert {row: count for row, count in zip(rows, seen.tolist(), strict=True) if count} == expected
        assert (np.diff(counts.keys[length - 1]) > 0).all()
        for row, count in zip(rows, adjusted.tolist(), strict=True):
            whole = length == order or row[0] == BEGIN
            assert count == (0 if row == (BEGIN,) else expected[row] if whole else len(left[row]))
        if length > 1:
            shorter = ngrams(counts, length - 1)
            assert [shorter[row] for row in counts.suffixes[length - 2]] == [row[1:] for row in rows]
            assert [shorter[row] for row in counts.prefixes(length)] == [row[:-1] for row in rows]


def test_keys_fit_where_the_vocabulary_to_the_power_of_the_order_does_not():
    documents = random_documents(2**31 - 1, number=5)
    values, offsets = corpus(documents)
    ranks, values = np.unique(np.concatenate(([BEGIN, END], values)), return_inverse=True)
    assert 250_000**5 > 2**63 and len(ranks) > 4
    counts = counted(random_documents(250_000, longest=40), 9, 250_000)
    assert set(ngrams(counts, 9)) == set(naive(random_documents(250_000, longest=40), 9)[0])


def test_a_slice_of_a_corpus_and_empty_documents():
    values = np.array([9, 9, 5, 6, 5, 9])
    counts = count_ngrams(values, np.array([2, 4, 4, 5]), 3, vocab_size=10, begin=BEGIN, end=END)
    assert dict(zip(ngrams(counts, 2), counts.counts[1].tolist(), strict=True)) == {
        (2, 3): 1, (2, 5): 2, (5, 3): 1, (5, 6): 1, (6, 3): 1
    }  # fmt: skip
    assert len(counted([[], []], 4).keys[3]) == 0


@pytest.mark.parametrize(
    ("documents", "message"),
    [([], "no documents"), ([[5, 20]], "0 to 19, found 5 to 20"), ([[-1]], "found -1"), ([[5, END]], "begin or end")],
)
def test_what_cannot_be_counted(documents, message):
    with pytest.raises(DataError, match=message):
        counted(documents, 2)

"""How often each n-gram of a corpus occurs, for all orders at once.

An n-gram is a number: the row of its first n-1 tokens among all (n-1)-grams, times the vocabulary's size, plus its last
token. So an order is one sorted array of 63-bit keys whatever the vocabulary, and its rows stand in the order of their
tokens, read from the left.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int, Integer
from numpy import ndarray

from lmlab.errors import DataError


@dataclass(frozen=True)
class NgramCounts:
    """The n-grams of the orders 1, 2, ... of a corpus; order 1 has a row for each id, counted or not."""

    vocab_size: int
    begin: int
    end: int
    keys: list[ndarray]  # of each order: (R,) sorted
    counts: list[ndarray]  # of each order: (R,) how often each occurs, or in how many documents
    suffixes: list[
        ndarray
    ]  # of each order from 2 on: (R,) the row that an n-gram has in the order below without its first
    by_class: list[ndarray]  # of each order: (R, G) the counts of each class of documents; without labels there is one

    @property
    def order(self) -> int:
        return len(self.keys)

    def prefixes(self, order: int) -> Int[ndarray, "R"]:
        """The row that each n-gram has in the order below without its last token: its context; 0 for a lone token."""
        return self.keys[order - 1] // self.vocab_size

    def begun(self, order: int) -> slice:
        """The rows of the n-grams that begin a document: they stand together."""
        first, last = self.begin, self.begin + 1
        for longer in range(2, order + 1):
            edges = np.array([first, last]) * self.vocab_size
            first, last = np.searchsorted(self.keys[longer - 1], edges).tolist()
        return slice(first, last)

    def adjusted(self, order: int) -> Int[ndarray, "R"]:
        """Kneser-Ney's counts (Heafield et al., 2013, section 3.2): in how many distinct words' wake an n-gram stands.

        Nothing stands before the beginning of a document or the highest order: there it is how often. The beginning
        itself is never predicted, and so counts 0.
        """
        counts = self.counts[order - 1]
        if order < self.order:
            begun = self.begun(order)
            wakes = np.bincount(self.suffixes[order - 1], minlength=len(counts))
            wakes[begun] = counts[begun]
            counts = wakes
        if order == 1:
            counts = counts.copy()
            counts[self.begin] = 0
        return counts

    def vocabulary(self, unknown: int) -> Bool[ndarray, "V"]:
        """lmplz's: the tokens of the corpus, the end and the unknown token; the beginning is never predicted."""
        predicted = self.counts[0] > 0
        predicted[[self.end, unknown]] = True
        predicted[self.begin] = False
        return predicted


def count_ngrams(
    values: Integer[ndarray, "N"],
    offsets: Int[ndarray, "E"],
    order: int,
    *,
    vocab_size: int,
    begin: int,
    end: int,
    labels: Integer[ndarray, "D"] | None = None,
    n_classes: int = 1,
    once: bool = False,
) -> NgramCounts:
    """Count the n-grams of the orders 1 to `order` of the documents values[offsets[d]:offsets[d + 1]].

    Each document is read between one `begin` and one `end`, neither of which may stand in it. `labels` are the classes
    of the documents, and `once` counts how many documents an n-gram is in.
    """
    if labels is None:
        labels = np.zeros(len(offsets) - 1, np.int64)
    tokens = framed(values, offsets, vocab_size, begin, end)
    padded = np.pad(tokens, (0, order), constant_values=end)
    places = sorted_places(padded, order, vocab_size)
    document = np.repeat(np.arange(len(labels)), np.diff(offsets) + 2)

    def tallied(size: int) -> Int[ndarray, "R G"]:
        if n_classes == 1 and not once:
            return np.bincount(rows, minlength=size)[:, None]
        return tally(rows, document[places], size, labels, n_classes, once)

    column = rows = padded[places]
    changed = differs(column)
    at = padded  # the row of the (n-1)-gram from each place on
    keys, suffixes, found = [np.arange(vocab_size)], [], [tallied(vocab_size)]
    for length in range(2, order + 1):
        inside = column != end  # nothing follows an end, and n-grams of the same tokens stand or fall together
        places, rows, changed = places[inside], rows[inside], changed[inside]
        column = padded[places + (length - 1)]
        changed |= differs(column)
        first = np.flatnonzero(changed)
        keys.append(rows[first] * vocab_size + column[first])
        suffixes.append(at[places[first] + 1])
        rows = np.cumsum(changed) - 1
        found.append(tallied(len(first)))
        at = np.empty_like(padded)
        at[places] = rows
    return NgramCounts(vocab_size, begin, end, keys, [each.sum(1) for each in found], suffixes, found)


def tally(
    rows: Int[ndarray, "T"],
    documents: Int[ndarray, "T"],
    size: int,
    labels: Integer[ndarray, "D"],
    n_classes: int,
    once: bool,
) -> Int[ndarray, "R G"]:
    """How often each of the `size` rows occurs in the documents of each class, or in how many of them."""
    if once:
        pairs = torch.from_numpy(rows * len(labels) + documents).sort().values.numpy()
        rows, documents = np.divmod(pairs[differs(pairs)], len(labels))
    return np.bincount(rows * n_classes + labels[documents], minlength=size * n_classes).reshape(size, n_classes)


def framed(
    values: Integer[ndarray, "N"], offsets: Int[ndarray, "E"], vocab_size: int, begin: int, end: int
) -> Int[ndarray, "T"]:
    """All documents in one row, each between `begin` and `end`."""
    values, lengths = values[offsets[0] : offsets[-1]], np.diff(offsets)
    if not len(lengths):
        raise DataError("no n-grams to count: the corpus has no documents")
    if len(values) and not 0 <= values.min() <= values.max() < vocab_size:
        raise DataError(f"token ids must lie in 0 to {vocab_size - 1}, found {values.min()} to {values.max()}")
    if np.any((values == begin) | (values == end)):
        raise DataError(f"a document holds the id of a document's begin or end ({begin}, {end})")
    tokens = np.empty(len(values) + 2 * len(lengths), dtype=np.int64)
    ends = np.cumsum(lengths + 2) - 1
    inside = np.ones(len(tokens), dtype=bool)
    inside[ends] = inside[ends - lengths - 1] = False
    tokens[inside], tokens[ends], tokens[ends - lengths - 1] = values, end, begin
    return tokens


def sorted_places(padded: Int[ndarray, "P"], order: int, vocab_size: int) -> Int[ndarray, "T"]:
    """The places of a text in the order of the `order` tokens from them on; `padded` has `order` more at its end.

    Each round takes as many tokens more into a 63-bit key as fit, and the sorted keys' ranks start the next round: five
    words of 160,000 need two sorts.
    """
    total = len(padded) - order
    key, size, taken = padded[:total], vocab_size, 1
    while True:
        while taken < order and size * vocab_size < 2**63:
            key, size, taken = key * vocab_size + padded[taken : taken + total], size * vocab_size, taken + 1
        # torch sorts on all cores, by radix, and says from where: twice as fast as numpy's argsort
        ordered, places = (found.numpy() for found in torch.from_numpy(key).sort())
        if taken == order:
            return places
        rank = np.cumsum(differs(ordered)) - 1
        key, size = np.empty_like(rank), int(rank[-1]) + 1
        key[places] = rank


def differs(column: Int[ndarray, "T"]) -> Bool[ndarray, "T"]:
    """Where a value is another than the one before it; the first always is."""
    found = np.ones(len(column), dtype=bool)
    np.not_equal(column[1:], column[:-1], out=found[1:])
    return found

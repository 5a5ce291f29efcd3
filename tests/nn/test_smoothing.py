"""Estimates beside hand-made sums and a dictionary's."""

import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from test_ngram_counts import BEGIN, END, counted, naive, ngrams, random_documents

from lmlab.errors import DataError
from lmlab.nn.ngram_table import NgramTable
from lmlab.nn.smoothing import FALLBACK, add_k, discounts, maximum_likelihood, modified_kneser_ney

UNKNOWN, A, B = 1, 4, 5
SIZE = 20


def table(orders):
    return NgramTable(SIZE, len(orders)).fill(orders)


def prob(model, context, token):
    padded = [-1] * (model.order - 1 - len(context)) + list(context)
    return math.exp(model.log_prob(torch.tensor([padded], dtype=torch.int64), torch.tensor([token])).item())


def test_maximum_likelihood_by_hand():
    model = table(maximum_likelihood(counted([[A, B], [A, A]], 2)))  # <s> a b </s>, <s> a a </s>
    assert prob(model, [], A) == pytest.approx(3 / 6) and prob(model, [], END) == pytest.approx(2 / 6)
    assert prob(model, [BEGIN], A) == 1 and prob(model, [A], B) == pytest.approx(1 / 3)
    assert prob(model, [B], A) == 0  # b was seen, but never an a after it
    assert prob(model, [UNKNOWN], A) == pytest.approx(3 / 6)  # never seen: the context is left out


def test_add_k_by_hand():
    counts = counted([[A, B], [A, A]], 3)
    predicted = counts.vocabulary(UNKNOWN)  # a, b, the end and the unknown token
    model = table(add_k(counts, predicted, k=0.5))
    assert prob(model, [BEGIN], A) == pytest.approx(2.5 / 4) and prob(model, [BEGIN], END) == pytest.approx(0.5 / 4)
    assert prob(model, [BEGIN, A], B) == pytest.approx(1.5 / 4)
    assert prob(model, [A, B], END) == pytest.approx(1.5 / 3) and prob(model, [A, B], UNKNOWN) == pytest.approx(0.5 / 3)
    assert prob(model, [B, B], A) == prob(model, [A], B) == pytest.approx(1 / 4)
    assert prob(table(add_k(counted([[A]], 1), predicted, k=1)), [], A) == pytest.approx(2 / 6)


def test_discounts_are_chen_and_goodmans():
    adjusted = np.repeat([0, 1, 2, 3, 4, 9], [7, 10, 5, 3, 2, 4])
    y = 10 / 20
    expected = [0, 1 - 2 * y * 5 / 10, 2 - 3 * y * 3 / 5, 3 - 4 * y * 2 / 3]
    assert discounts(adjusted, 2).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("adjusted", [[1, 1, 2], [2, 3, 3], [], [1] * 10 + [2] + [3] * 5])
def test_too_little_text_is_told_or_falls_back(adjusted):
    adjusted = np.array(adjusted, dtype=np.int64)
    with pytest.raises(DataError, match="the 3-grams yield no Kneser-Ney discounts"):
        discounts(adjusted, 3)
    assert discounts(adjusted, 3, FALLBACK).tolist() == [0, *FALLBACK]


def reference(documents, order, vocab_size):
    """Chen and Goodman's recursion over dictionaries, with lmplz's fallback discounts."""
    tables = []
    for length in range(1, order + 1):
        found, left = naive(documents, length)
        whole = {row for row in found if length == order or row[0] == BEGIN}
        adjusted = {row: found[row] if row in whole else len(left[row]) for row in found if row != (BEGIN,)}
        following = defaultdict(dict)
        for row, count in adjusted.items():
            following[row[:-1]][row[-1]] = count
        tables.append(following)

    def take(count):
        return (0, *FALLBACK)[min(count, 3)]

    def p(context, token):
        if len(context) >= order or (context and context not in tables[len(context)]):
            return p(context[1:], token)
        counts = tables[len(context)][context]
        total = sum(counts.values())
        lower = p(context[1:], token) if context else 1 / vocab_size
        count = counts.get(token, 0)
        return (count - take(count)) / total + sum(map(take, counts.values())) / total * lower

    return p


@pytest.mark.parametrize("order", [1, 2, 4])
def test_kneser_ney_is_that_of_dictionaries(order, monkeypatch):
    monkeypatch.setattr("lmlab.nn.smoothing.discounts", lambda *_: np.array([0.0, *FALLBACK]))
    documents = random_documents(SIZE, number=25, seed=3)
    counts = counted(documents, order)
    predicted = counts.vocabulary(UNKNOWN)
    model, p = table(modified_kneser_ney(counts, predicted)), reference(documents, order, int(predicted.sum()))
    contexts = {(), (BEGIN,), (UNKNOWN, A)} | {row for n in range(2, order) for row in ngrams(counts, n)[::5]}
    for context in contexts:
        for token in np.flatnonzero(predicted).tolist():
            seen = context[-(order - 1) :] if order > 1 else ()
            assert prob(model, seen, token) == pytest.approx(p(context, token), rel=2e-6)


def test_all_that_the_corpus_holds_must_be_predicted():
    counts = counted([[A, B]], 2)
    for missing in (A, END):
        predicted = counts.vocabulary(UNKNOWN)
        predicted[missing] = False
        with pytest.raises(DataError, match="must predict each token"):
            add_k(counts, predicted, k=1)
    with pytest.raises(DataError, match="never the beginning"):
        modified_kneser_ney(counts, np.ones(SIZE, dtype=bool), fallback=FALLBACK)


def test_tokens_that_the_corpus_lacks_share_what_is_set_free():
    counts = counted([[A, B], [A, A]], 2)
    predicted = counts.vocabulary(UNKNOWN)
    predicted[[7, 8]] = True
    model = table(modified_kneser_ney(counts, predicted, fallback=FALLBACK))
    assert prob(model, [A], 7) == prob(model, [A], 8) == prob(model, [A], UNKNOWN) > 0
    assert prob(model, [A], 9) == 0

"""Models of classes: each a distribution after every context, beside the definition worked out token by token."""

import numpy as np
import pytest
import torch
from test_ngram_counts import BEGIN, END, corpus, random_documents

from lmlab.nn.class_models import class_models
from lmlab.nn.ngram_counts import count_ngrams
from lmlab.nn.ngram_table import NgramTable
from lmlab.nn.smoothing import FALLBACK, add_k, maximum_likelihood, modified_kneser_ney

SIZE, UNKNOWN, CLASSES = 20, 1, 3


def counted(order, once=False, seed=0):
    documents = random_documents(SIZE, number=60, seed=seed)
    labels = np.arange(60) % 5 % CLASSES
    frame = {"vocab_size": SIZE, "begin": BEGIN, "end": END}
    return count_ngrams(*corpus(documents), order, **frame, labels=labels, n_classes=CLASSES, once=once)


def predicted():
    return np.isin(np.arange(SIZE), [UNKNOWN, END, *range(5, SIZE)]) | (np.arange(SIZE) == 4)


ESTIMATORS = {
    "kneser_ney": lambda counts: modified_kneser_ney(counts, predicted(), fallback=FALLBACK),
    "add_k": lambda counts: add_k(counts, predicted(), k=0.3),
    "maximum_likelihood": maximum_likelihood,
}


def tables(order, smoothing="kneser_ney", concentration=4.0, once=True):
    counts = counted(order, once)
    shared = ESTIMATORS[smoothing](counts)
    models = class_models(shared, counts, concentration)
    return counts, *(NgramTable(SIZE, order).fill(model) for model in (shared, *models))


def all_contexts(order):
    """A thousand of them, seen and unseen."""
    draw = np.random.default_rng(0)
    alphabet = np.flatnonzero(counted(1).counts[0])
    contexts = draw.choice(alphabet[alphabet != END], (1000, order - 1))
    return torch.from_numpy(contexts)


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("smoothing", ESTIMATORS)
def test_every_class_is_a_distribution_after_every_context(order, smoothing):
    _, _, *models = tables(order, smoothing)
    for model in models:
        sums = model.distribution(all_contexts(order)).double().exp().sum(-1)
        assert torch.allclose(sums, torch.ones(1000, dtype=torch.double), atol=1e-5)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_it_is_bayes_rule_worked_out_for_every_token(order):
    counts, shared, *models = tables(order)
    contexts = all_contexts(order)[:50]
    found = [{}, {}, {}]  # of each order: n-gram -> counts by class
    grams = [(token,) for token in range(SIZE)]
    for length in range(1, order + 1):
        if length > 1:
            grams = [(*grams[key // SIZE], key % SIZE) for key in counts.keys[length - 1].tolist()]
        found[length - 1] = dict(zip(grams, counts.by_class[length - 1], strict=True))
    base = counts.by_class[0].sum(0) + 1

    def posterior(gram):
        below = posterior(gram[1:]) if len(gram) > 1 else base / base.sum()
        seen = found[len(gram) - 1].get(gram, np.zeros(CLASSES))
        return (seen + 4.0 * below) / (seen.sum() + 4.0)

    for context in contexts:
        p = shared.distribution(context[None])[0].double().exp().numpy()
        joint = p[:, None] * np.stack([posterior((*context.tolist(), token)) for token in range(SIZE)])
        expected = joint / joint.sum(0)
        for number, model in enumerate(models):
            assert model.distribution(context[None])[0].exp().numpy() == pytest.approx(expected[:, number], abs=2e-6)


def test_a_strong_prior_leaves_nothing_to_the_class():
    _, shared, *models = tables(3, concentration=1e9)
    for model in models:
        ours, theirs = (table.distribution(all_contexts(3)[:50]).exp() for table in (model, shared))
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("order", [1, 3])
def test_counts_by_class_and_once_a_document(order):
    documents, labels = random_documents(SIZE, number=60), np.arange(60) % 5 % CLASSES
    for once in (False, True):
        counts = counted(order, once)
        expected = np.zeros_like(counts.by_class[-1])
        rows = {}
        grams = [(token,) for token in range(SIZE)]
        for length in range(2, order + 1):
            grams = [(*grams[key // SIZE], key % SIZE) for key in counts.keys[length - 1].tolist()]
        rows = {gram: row for row, gram in enumerate(grams)}
        for document, label in zip(documents, labels, strict=True):
            tokens = [BEGIN, *document, END]
            inside = [tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1)]
            for gram in set(inside) if once else inside:
                expected[rows[gram], label] += 1
        assert (counts.by_class[-1] == expected).all() and (counts.counts[-1] == expected.sum(1)).all()
    assert counts.counts[0].max() < counted(order).counts[0].max()

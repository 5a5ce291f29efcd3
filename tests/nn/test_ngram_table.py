"""A table answers one token as it answers all, sums to one after every context, and travels in a state dict."""

import numpy as np
import pytest
import torch
from test_ngram_counts import BEGIN, END, counted, ngrams, random_documents

from lmlab.nn.ngram_table import NgramTable
from lmlab.nn.smoothing import FALLBACK, add_k, maximum_likelihood, modified_kneser_ney

SIZE, UNKNOWN = 20, 1
ESTIMATORS = {
    "maximum likelihood": lambda counts, predicted: maximum_likelihood(counts),
    "add-k": lambda counts, predicted: add_k(counts, predicted, k=0.1),
    "Kneser-Ney": lambda counts, predicted: modified_kneser_ney(counts, predicted, fallback=FALLBACK),
}


def model(estimator="Kneser-Ney", order=4):
    counts = counted(random_documents(SIZE, number=40), order)
    predicted = counts.vocabulary(UNKNOWN)
    predicted[[6, 7, 8]] = True
    return NgramTable(SIZE, order).fill(ESTIMATORS[estimator](counts, predicted)), counts, predicted


def every_context(counts, order):
    """Every context of the corpus, at every length, and some that it lacks."""
    found = [(), (19, 19, 19), (0,), (BEGIN, 19)]
    found += [row for length in range(1, order) for row in ngrams(counts, length)]
    width = order - 1
    return torch.tensor([([-1] * width + list(row))[len(row) :][-width:] if width else [] for row in found]).long()


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_context_sums_to_one(estimator, order):
    table, counts, predicted = model(estimator, order)
    contexts = every_context(counts, order)
    scores = table.distribution(contexts)
    assert scores.exp().sum(1).sub(1).abs().max() < 2e-6
    assert (scores[:, ~torch.from_numpy(predicted)] == -torch.inf).all()
    if estimator != "maximum likelihood":
        assert scores[:, torch.from_numpy(predicted)].isfinite().all()


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_one_token_has_the_same_probability_as_among_all(estimator, order):
    table, counts, _ = model(estimator, order)
    contexts = every_context(counts, order)
    expected = table.distribution(contexts)
    spread = contexts[:, None].expand(-1, SIZE, -1)
    assert torch.equal(table.log_prob(spread, torch.arange(SIZE).expand(len(contexts), -1)), expected)
    assert table.log_prob(spread[0, 0], torch.tensor(END)).shape == ()


def test_more_context_than_the_order_has_changes_nothing_and_less_is_padding():
    table, counts, _ = model(order=3)
    contexts = every_context(counts, 3)
    longer = torch.nn.functional.pad(contexts, (2, 0), value=5)
    assert torch.equal(table.distribution(longer), table.distribution(contexts))
    short = contexts[contexts[:, 0] == -1]
    assert torch.equal(table.distribution(short[:, 1:]), table.distribution(short))


def test_a_table_without_ngrams_finds_all_tokens_alike():
    table = NgramTable(SIZE, 3)
    contexts = torch.tensor([[-1, -1], [4, 5]])
    assert torch.allclose(table.distribution(contexts).exp(), torch.full((2, SIZE), 1 / SIZE))
    assert torch.allclose(table.log_prob(contexts, torch.tensor([4, 5])).exp(), torch.tensor(1 / SIZE))


def test_texts_shorter_than_the_order_are_no_obstacle():
    table = NgramTable(SIZE, 5).fill(maximum_likelihood(counted([[4], []], 5)))
    contexts = torch.tensor([[-1, -1, -1, BEGIN], [-1, -1, BEGIN, 4]])
    assert torch.allclose(table.distribution(contexts).exp()[:, [4, END]], torch.tensor([[0.5, 0.5], [0, 1]]))


def test_a_state_dict_fills_a_fresh_table(tmp_path):
    table, counts, _ = model()
    torch.save(torch.nn.ModuleDict({"table": table}).state_dict(), tmp_path / "weights.pt")
    fresh = torch.nn.ModuleDict({"table": NgramTable(SIZE, 4)})
    fresh.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    contexts = every_context(counts, 4)
    assert torch.equal(fresh["table"].distribution(contexts), table.distribution(contexts))
    with pytest.raises(RuntimeError, match="size mismatch"):
        NgramTable(SIZE + 1, 4).load_state_dict(table.state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        NgramTable(SIZE, 5).load_state_dict(table.state_dict())


def test_only_ngrams_of_the_same_orders_and_tokens_fit():
    estimates = maximum_likelihood(counted([[4, 5]], 2))
    for vocab_size, order in ((SIZE, 3), (SIZE + 1, 2)):
        with pytest.raises(ValueError, match=f"a table of {order} orders of {vocab_size} tokens cannot hold"):
            NgramTable(vocab_size, order).fill(estimates)
    assert np.array_equal(NgramTable(SIZE, 2).fill(estimates).keys_2, estimates[1].keys)

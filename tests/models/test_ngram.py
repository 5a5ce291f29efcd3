"""n-gram models as networks: one answer by every road, Bayes' rule by hand."""

import numpy as np
import pytest
import torch

from lmlab.models.ngram import Ngram
from lmlab.tasks.causal_lm import NONE
from lmlab.tokenizer import Tokenizer

BEGIN, END = Tokenizer.cls_id, Tokenizer.sep_id
V = 12


def documents(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 9, n)
    return rng.integers(5, V, lengths.sum()).astype(np.uint16), np.append(0, lengths.cumsum())


@pytest.fixture(params=["kneser_ney", "add_k"])
def network(request):
    made = Ngram(V, architecture="decoder", order=3, smoothing=request.param)
    made.learn(*documents(60), V)
    return made


def test_every_context_is_a_distribution_and_a_loss_is_read_from_it(network):
    tokens, target = torch.randint(5, V, (2, 7)), torch.randint(5, V, (2, 7))
    states = network.decode(tokens)
    log_p = network.logits(states)
    assert torch.allclose(log_p.exp().sum(-1), torch.ones(2, 7), atol=1e-5)
    target[0, 2] = NONE
    losses = network.losses(states.flatten(0, 1), target.flatten()).unflatten(0, (2, 7))
    expected = -log_p.gather(-1, target.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    assert losses[0, 2] == 0 and torch.allclose(losses[1], expected[1], atol=1e-5)


def test_a_cache_changes_nothing_and_no_token_is_seen_before_it_comes(network):
    tokens, cache = torch.randint(5, V, (2, 8)), {}
    whole = network.decode(tokens)
    parts = [network.decode(tokens[:, :3], cache=cache)]
    parts += [network.decode(tokens[:, t : t + 1], cache=cache) for t in range(3, 8)]
    assert torch.equal(torch.cat(parts, dim=1), whole)
    tokens[:, 5] = 5
    assert torch.equal(network.decode(tokens)[:, :5], whole[:, :5])


def test_what_was_counted_is_saved_and_loaded(network):
    again = Ngram(V, architecture="decoder", order=3)
    again.load_state_dict(network.state_dict())
    states = network.decode(torch.randint(5, V, (1, 5)))
    assert torch.equal(again.logits(states), network.logits(states))


def labelled() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """100 documents of two classes, three times as many of the second."""
    values, offsets = documents(100)
    return values, offsets, (np.arange(100) % 4 > 0).astype(int)


@pytest.mark.parametrize("concentration", [None, 10.0])
@pytest.mark.parametrize("count_once", [False, True])
def test_a_text_belongs_to_the_class_under_which_it_is_likelier(concentration, count_once):
    network = Ngram(
        V, architecture="encoder", order=2, classes=["a", "b"], concentration=concentration, count_once=count_once
    )
    values, offsets, labels = labelled()
    network.learn_classes(values, offsets, V, labels)
    tokens = torch.tensor([[BEGIN, 6, 7, 8, 7, 0, 0]])
    mask = tokens != 0
    joint = network.pool(network.encode(tokens, mask), mask)
    steps = [(BEGIN, 6), (6, 7), (7, 8)] + ([] if count_once else [(8, 7)])  # that 7 comes again is no news
    by_hand = [
        sum(table.log_prob(torch.tensor([before]), torch.tensor(after)).item() for before, after in steps)
        for table in network.tables
    ]
    assert joint[0].tolist() == pytest.approx([by_hand[0] + np.log(0.25), by_hand[1] + np.log(0.75)], rel=1e-5)


def test_without_a_prior_a_class_has_the_model_of_its_texts_alone():
    values, offsets, labels = labelled()
    network = Ngram(V, architecture="encoder", order=3, classes=["a", "b"], concentration=None, count_once=False)
    network.learn_classes(values, offsets, V, labels)
    for number, table in enumerate(network.tables):
        alone = Ngram(V, architecture="decoder", order=3)
        texts = [values[offsets[row] : offsets[row + 1]] for row in np.flatnonzero(labels == number)]
        alone.learn(np.concatenate(texts), np.cumsum([0, *map(len, texts)]), V)
        for (name, ours), theirs in zip(table.named_buffers(), alone.table.buffers(), strict=True):
            assert torch.equal(ours, theirs), name


def test_a_token_that_no_class_can_have_says_nothing():
    network = Ngram(V, architecture="encoder", order=2, classes=["a", "b"], smoothing="maximum_likelihood")
    values, offsets, labels = labelled()
    network.learn_classes(np.where(values == 7, 8, values), offsets, V, labels)
    tokens = torch.tensor([[BEGIN, 7, 7]])
    joint = network.pool(network.encode(tokens, tokens != 0), tokens != 0)
    assert joint[0].tolist() == pytest.approx(np.log([0.25, 0.75]).tolist(), rel=1e-5)

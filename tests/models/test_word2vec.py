"""word2vec: its steps are those of gradient descent on the published objectives."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lmlab.models.word2vec import Word2Vec
from lmlab.nn.windows import windows

VOCAB, RATE = 40, 0.1
VARIANTS = [
    {"objective": objective, "softmax": softmax}
    for objective in ("skip_gram", "cbow")
    for softmax in ("negative_sampling", "hierarchical")
]


def tiny(**options):
    network = Word2Vec(
        VOCAB, 8, **{"window": 2, "piece": 4, "shared_negatives": 3, "subsampling": 0.0, "calm": 1e9} | options
    )
    for table in (network.embedding.table, network.output):
        torch.nn.init.normal_(table.weight)
    network.learn_counts(np.repeat(np.arange(VOCAB), np.arange(VOCAB, 0, -1)))
    network.make_ready()
    return network


def test_a_row_of_many_decisions_moves_as_if_it_had_fewer():
    words = torch.full((400,), 7)
    moved = {}
    for calm in (1e9, 50.0):
        torch.manual_seed(5)
        network = tiny(calm=calm, dynamic_window=False)
        before = network.embedding.weight[7].detach().clone()
        torch.manual_seed(5)
        network.move(words, torch.zeros_like(words), RATE)
        moved[calm] = network.embedding.weight[7].detach() - before
    n_decisions = (400 * 4 - 6) * (1 + 5)
    torch.testing.assert_close(moved[50.0], moved[1e9] * 50 / (RATE * n_decisions), rtol=1e-3, atol=1e-5)


def stream(n=23):
    return torch.randint(5, VOCAB, (n,)), torch.arange(n) // 9


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_is_one_of_gradient_descent(variant):
    network, (words, documents) = tiny(**variant), stream()
    torch.manual_seed(3)
    loss, _ = network.loss_of(words, documents)
    loss.backward()
    expected = [table.detach() - RATE * table.grad for table in (network.embedding.weight, network.output.weight)]
    torch.manual_seed(3)
    network.move(words, documents, RATE)
    for table, moved in zip((network.embedding.weight, network.output.weight), expected, strict=True):
        torch.testing.assert_close(table.detach(), moved, atol=1e-5, rtol=1e-5)


def test_skip_gram_asks_each_pair_and_its_share_of_drawn_words():
    network, (words, documents) = tiny(dynamic_window=False), stream()
    torch.manual_seed(3)
    loss, n_pairs = network.loss_of(words, documents)
    torch.manual_seed(3)
    found = windows(words, documents, 2, 4, dynamic=False)
    negatives = network.decisions(found).outputs[:, 4:]
    own, other, total, count = network.embedding.weight, network.output.weight, 0.0, 0
    for place, word in enumerate(words.tolist()):
        for near in range(max(0, place - 2), min(len(words), place + 3)):
            if near != place and documents[near] == documents[place]:
                reader = own[words[near]]
                total -= F.logsigmoid(reader @ other[word])
                total -= 5 / 3 * F.logsigmoid(-(other[negatives[place // 4]] @ reader)).sum()
                count += 1
    assert n_pairs == count
    torch.testing.assert_close(loss, total, rtol=1e-4, atol=1e-4)


def test_the_turns_to_all_words_are_a_distribution():
    network = tiny(softmax="hierarchical")
    state = network.embedding.weight[7].detach()
    going = (network.output.weight[network.nodes].detach() @ state).sigmoid()  # (V, L): probability of turning left
    taken = torch.where(network.turns == 0, going, 1 - going)
    inside = torch.arange(taken.shape[1]) < network.depth[:, None]
    torch.testing.assert_close(torch.where(inside, taken, 1.0).prod(1).sum(), torch.tensor(1.0))


def test_drawn_words_follow_their_counts_to_the_three_quarters():
    network = tiny(shared_negatives=4000)
    words, documents = stream(400)
    drawn = network.decisions(windows(words, documents, 2, 4)).outputs[:, 4:]
    shares = torch.bincount(drawn.flatten(), minlength=VOCAB) / drawn.numel()
    expected = network.counts**0.75 / (network.counts**0.75).sum()
    torch.testing.assert_close(shares, expected, atol=2e-3, rtol=0)
    assert shares[:5].sum() == 0


def test_frequent_words_are_left_out_as_often_as_published():
    network = tiny(subsampling=1e-2)
    tokens = torch.arange(5, VOCAB).repeat(400, 60)[:, : 35 * 60]
    words, _ = network.stream(tokens, torch.ones_like(tokens, dtype=torch.bool))
    kept = torch.bincount(words, minlength=VOCAB)[5:] / (400 * 60)
    often = network.counts[5:] / network.counts.sum() / 1e-2
    torch.testing.assert_close(kept, ((often**-0.5) + 1 / often).clamp(max=1), atol=0.02, rtol=0)


def test_special_tokens_padding_and_other_documents_are_no_neighbours():
    network = tiny()
    tokens = torch.tensor([[3, 10, 11, 3, 12, 1], [13, 14, 2, 15, 0, 0]])
    words, documents = network.stream(tokens, tokens > 0)
    assert words.tolist() == [10, 11, 12, 13, 14, 15]
    assert len(documents.unique()) == 3 and documents[:2].unique().numel() == 1


def test_an_encoder_has_the_table_of_its_words_alone():
    network = Word2Vec(VOCAB, 8, architecture="encoder")
    tokens = torch.tensor([[10, 11, 0]])
    assert torch.equal(network.encode(tokens, tokens > 0), network.embedding.weight[tokens])
    assert {name for name, _ in network.named_parameters()} == {"embedding.table.weight"}
    with pytest.raises(NotImplementedError, match="does not learn words"):
        network.neighbour_loss(tokens, tokens > 0)

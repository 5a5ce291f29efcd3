"""N-grams by exact vocabulary: counted as a dictionary counts them, looked up where they end."""

from collections import Counter

import pytest
import torch

from lmlab.nn.embeddings import NgramEmbedding


def test_the_vocabulary_is_that_of_a_dictionary():
    texts = [torch.randint(1, 5, (5, 12)), torch.randint(1, 5, (6, 40))]
    texts[0][0, 6:] = 0  # padding, which is no part of any n-gram
    ngrams = NgramEmbedding(9, 4, (2, 3), rows=14)
    ngrams.learn(texts, min_count=3)
    for number, order in enumerate((2, 3)):
        counts = Counter(
            tuple(row[start : start + order])
            for batch in texts
            for row in batch.tolist()
            for start in range(len(row) - order + 1)
            if 0 not in row[start : start + order]
        )
        frequent = [ngram for ngram, count in counts.items() if count >= 3]
        kept = ngrams.keys[number][ngrams.keys[number] < 9**order]
        assert len(kept) == min(14, len(frequent)) > 10
        lowest = min(counts[decoded(key, order)] for key in kept.tolist())
        assert lowest >= sorted((counts[ngram] for ngram in frequent), reverse=True)[len(kept) - 1]


def decoded(key, order):
    digits = []
    for _ in range(order):
        key, digit = divmod(key, 9)
        digits.append(digit)
    return tuple(reversed(digits))


def test_weights_of_another_training_bring_their_ngrams():
    first, second = (NgramEmbedding(40, 4, (2,), rows=8) for _ in range(2))
    assert not first.learned
    first.learn([torch.tensor([[7, 8, 9, 1, 7, 8]])], min_count=2)
    second.load_state_dict(first.state_dict())
    assert first.learned and second.learned


def test_a_row_depends_on_the_ngram_alone_and_unknown_ones_add_nothing():
    ngrams = NgramEmbedding(40, 4, (2,), rows=8).eval()
    ngrams.learn([torch.tensor([[7, 8, 9, 1, 7, 8]])], min_count=2)
    states = ngrams(torch.tensor([[7, 8, 3, 7, 8, 7]]))[0]
    assert torch.equal(states[1], states[4]) and states[1].abs().sum() > 0
    assert states[[0, 2, 3, 5]].abs().sum() == 0


def test_dropped_ngrams_leave_the_mean_as_it_is():
    ngrams = NgramEmbedding(40, 4, (2,), rows=8, dropout=0.5)
    ngrams.learn([torch.tensor([[7, 8]])], min_count=1)
    tokens = torch.tensor([[7, 8]]).repeat(4000, 1)
    training, still = ngrams(tokens)[:, 1], ngrams.eval()(tokens)[:, 1]
    torch.testing.assert_close(training.mean(0), still.mean(0), rtol=0.1, atol=1e-5)


def test_orders_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="63 bits"):
        NgramEmbedding(100_000, 4, (4,), rows=8)

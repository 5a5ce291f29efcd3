"""Noise belongs to a text: neither its batch, nor its place in it, nor padding changes it."""

import pytest
import torch
from torch import nn

from lmlab.nn.attention import SelfAttention
from lmlab.nn.embeddings import TokenEmbedding
from lmlab.nn.noise import Dropout, KeyDropout, hashed, noise_of, redrawn


def dropped(layer, rows, length=3, seed=5):
    with noise_of([layer], seed, torch.tensor(rows)):
        return layer(torch.ones(len(rows), length, 64))


def test_a_text_keeps_its_noise_in_any_batch_and_beside_any_padding():
    layer = Dropout(0.4)
    whole = dropped(layer, [3, 8, 11, 2])
    assert torch.equal(dropped(layer, [11, 3])[0], whole[2]) and torch.equal(dropped(layer, [8], 9)[0, :3], whole[1])
    assert (whole[:, 0] == whole[:, 2]).all()  # the same features at every position


def test_a_head_drops_the_same_keys_for_all_queries_as_if_their_weights_were():
    layer, x = SelfAttention(16, 4, dropout=0.4).train(), torch.randn(2, 9, 16)
    with noise_of([layer], 5, torch.tensor([3, 8])):
        found = layer(x)
        kept = layer.dropout(torch.ones(2, 4, 9, 1))
    query, key, value = layer.qkv(x).unflatten(-1, (12, 4)).transpose(1, 2).split(4, dim=1)  # (B, H, T, d)
    weights = (query @ key.mT / 2).softmax(-1) * kept.mT  # a column is a key
    torch.testing.assert_close(found, layer.output((weights @ value).transpose(1, 2).flatten(2)))
    assert {round(number, 4) for number in kept.unique().tolist()} == {0.0, 1.6667}
    assert not torch.equal(kept[:, 0], kept[:, 1])  # heads differ


def test_keys_are_dropped_whatever_stands_beside_a_text():
    layer = KeyDropout(0.4)

    def values(rows, length):
        with noise_of([layer], 5, torch.tensor(rows)):
            return layer(torch.ones(len(rows), 4, length, 2))

    whole = values([3, 8, 11], 7)
    assert torch.equal(values([11], 12)[0, :, :7], whole[2])
    assert (values(list(range(2000)), 5) == 0).float().mean().item() == pytest.approx(0.4, abs=0.01)


def test_texts_epochs_and_layers_differ():
    layers = nn.ModuleList([Dropout(0.5), Dropout(0.5)])
    seen = set()
    for seed in (5, 6):
        with noise_of(layers, seed, torch.tensor([1, 2])):
            seen |= {tuple(row.tolist()) for layer in layers for row in layer(torch.ones(2, 64))}
    assert len(seen) == 8


def test_the_share_dropped_is_p_and_the_mean_stays():
    kept = dropped(Dropout(0.3), list(range(4000)), 1)
    assert (kept == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    assert kept.mean().item() == pytest.approx(1.0, abs=0.01)
    features = (kept == 0).float().mean((0, 1))
    assert features.min() > 0.25 and features.max() < 0.35


def test_outside_torch_draws_and_without_training_nothing_is_dropped():
    layer, x = Dropout(0.5), torch.ones(2, 3, 8)
    assert (layer(x) == 0).any() and torch.equal(layer.eval()(x), x)


def test_whole_tokens_are_blanked_wherever_the_text_stands():
    embedding, tokens = TokenEmbedding(20, 8, token_dropout=0.5), torch.arange(10).expand(3, 10)
    with noise_of([embedding], 1, torch.tensor([4, 5, 6])):
        whole = embedding(tokens)
    with noise_of([embedding], 1, torch.tensor([6])):
        assert torch.equal(embedding(tokens[:1])[0], whole[2])
    assert set((whole == 0).float().mean(-1).unique().tolist()) == {0.0, 1.0}


def test_further_texts_of_a_row_draw_other_numbers():
    layer, x, rows = Dropout(0.5), torch.ones(3, 64), torch.tensor([4, 5, 6])
    with noise_of([layer], 1, rows):
        first = layer(x)
        with redrawn(layer, 1):
            second = layer(x)
        with redrawn(layer, 2):
            third = layer(x)
        assert torch.equal(layer(x), first)
    assert layer.texts is None
    agree = [(one == other).float().mean(1) for one, other in ((first, second), (first, third), (second, third))]
    assert all(share.max() < 0.8 for share in agree)
    with noise_of([layer], 1, rows[1:]), redrawn(layer, 1):
        assert torch.equal(layer(x[1:]), second[1:])


def test_the_hash_is_splitmix64():
    state = 0x9E3779B97F4A7C15  # the first number of a generator seeded with 0: 0xE220A8397B1DCDAF
    assert hashed(torch.tensor([state - 2**64])).item() == 0xE220A8397B1DCDAF - 2**64

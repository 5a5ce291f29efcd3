"""What an encoder is given in training: words missing, blank and moved, of each text its own, whatever is beside."""

import torch

from lmlab.nn.corruption import Corruption, blank
from lmlab.nn.noise import noise_of


def texts(rows=400, length=30):
    tokens = torch.arange(length).repeat(rows, 1) + 5
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, 20:] = False
    tokens[~mask] = 0
    return tokens, mask


def test_nothing_happens_outside_training():
    tokens, mask = texts(3)
    read = Corruption(deletion=0.5, blanking=0.5, shuffle=3).eval()(tokens, mask)
    assert torch.equal(read.tokens, tokens) and torch.equal(read.mask, mask) and read.blanked is None


def test_a_share_is_deleted_and_the_rest_keeps_its_order():
    tokens, mask = texts()
    read = Corruption(deletion=0.2)(tokens, mask)
    lengths = read.mask.sum(1)
    assert torch.equal(read.mask, torch.arange(30) < lengths[:, None])
    assert abs(1 - (lengths.sum() - 400) / (mask.sum() - 400) - 0.2) < 0.02
    assert (read.tokens[:, 0] == 5).all()
    for row in range(20):
        kept = read.tokens[row][read.mask[row]]
        assert (kept.diff() > 0).all() and lengths[1] <= 20 and 0 not in kept


def test_tokens_move_by_as_many_places_as_are_allowed():
    tokens, mask = texts()
    read = Corruption(shuffle=3)(tokens, mask)
    moved = (read.tokens - tokens)[mask].abs()
    assert moved.max() == 3 and torch.equal(read.tokens.sort(1).values, tokens.sort(1).values)
    assert (read.tokens[:, 0] == 5).all() and torch.equal(read.mask, mask)


def test_a_share_is_blanked_but_never_what_begins_a_text():
    tokens, mask = texts()
    read = Corruption(blanking=0.3)(tokens, mask)
    assert torch.equal(read.tokens, tokens) and not read.blanked[:, 0].any()
    assert abs(read.blanked[:, 1:].float().mean() - 0.3) < 0.02
    x = blank(torch.ones(400, 30, 2), read.blanked)
    assert torch.equal(x[..., 0] == 0, read.blanked)


def test_a_text_is_corrupted_alike_beside_anything():
    tokens, mask = texts(6)
    made, rows = Corruption(deletion=0.2, blanking=0.2, shuffle=2), torch.arange(6)

    def read(seed, some, length):
        with noise_of((made,), seed, rows[some]):
            return made(tokens[some, :length], mask[some, :length])

    alone, beside = read(1, slice(1, 2), 20), read(1, slice(0, 6), 30)
    assert torch.equal(alone.tokens[alone.mask], beside.tokens[1][beside.mask[1]])
    assert torch.equal(alone.blanked[0], beside.blanked[1, :20])
    assert not torch.equal(beside.mask, read(2, slice(0, 6), 30).mask)

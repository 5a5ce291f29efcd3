"""Pieces of a stream and which of their words are near, beside a loop over all pairs."""

import pytest
import torch

from lmlab.nn.windows import windows


@pytest.mark.parametrize(("reach", "size"), [(2, 4), (5, 3), (1, 1), (3, 40)])
def test_all_pairs_within_reach_and_document_and_no_others(reach, size):
    words = torch.arange(100, 123)
    documents = torch.tensor([0] * 9 + [1] + [2] * 13)
    found = windows(words, documents, reach, size, dynamic=False)
    piece, centre, other = found.near.nonzero(as_tuple=True)
    pairs = list(zip(found.centres[piece, centre].tolist(), found.around[piece, other].tolist(), strict=True))
    expected = {
        (one, another)
        for one in range(100, 123)
        for another in range(100, 123)
        if 0 < abs(one - another) <= reach and documents[one - 100] == documents[another - 100]
    }
    assert len(pairs) == len(set(pairs)) and set(pairs) == expected


def test_a_dynamic_window_has_each_radius_as_often():
    words = torch.arange(60_000)
    found = windows(words, torch.zeros_like(words), 5, 32)
    radius = (found.near.sum(2) / 2).flatten()[5:-40]
    shares = torch.stack([(radius == n).float().mean() for n in range(1, 6)])
    torch.testing.assert_close(shares, torch.full((5,), 0.2), atol=0.01, rtol=0)

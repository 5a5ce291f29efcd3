"""Pairs of words: both ways, each word's together; products and sums of rows."""

import pytest
import torch

from lmlab.nn.pairs import both_ways, dots

ONE, OTHER, WEIGHT = torch.tensor([2, 0, 3, 2]), torch.tensor([1, 4, 3, 4]), torch.tensor([1.0, 2.0, 3.0, 4.0])


def test_each_pair_stands_both_ways_and_knows_its_other_one():
    pairs = both_ways(ONE, OTHER, WEIGHT, 6)
    told = {*zip(pairs.first.tolist(), pairs.second.tolist(), pairs.weight.tolist(), strict=True)}
    expected = {*zip(ONE.tolist(), OTHER.tolist(), WEIGHT.tolist(), strict=True)}
    assert told == expected | {(j, i, x) for i, j, x in expected}
    assert pairs.first.tolist() == sorted(pairs.first.tolist())
    assert torch.equal(pairs.first[pairs.turned], pairs.second) and torch.equal(pairs.second[pairs.turned], pairs.first)
    assert torch.equal(pairs.weight[pairs.turned], pairs.weight)
    assert torch.equal(pairs.turned[pairs.turned], torch.arange(8))


def test_sums_are_products_with_a_matrix():
    pairs, table, rates = both_ways(ONE, OTHER, WEIGHT, 6), torch.randn(6, 3), torch.randn(8)
    matrix = torch.zeros(6, 6).index_put_((pairs.first, pairs.second), rates, accumulate=True)
    torch.testing.assert_close(pairs.sums(table, rates), matrix @ table)
    torch.testing.assert_close(pairs.totals(rates), matrix.sum(1))


@pytest.mark.parametrize("has_mkl", [True, False])
def test_products_are_those_of_the_rows(has_mkl, monkeypatch):
    if has_mkl and not torch.backends.mkl.is_available():
        pytest.skip("torch is built without MKL")
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: has_mkl)
    pairs, one, other = both_ways(ONE, OTHER, WEIGHT, 6), torch.randn(6, 3), torch.randn(6, 3)
    torch.testing.assert_close(dots(one, other, pairs, at_once=3), (one[pairs.first] * other[pairs.second]).sum(1))

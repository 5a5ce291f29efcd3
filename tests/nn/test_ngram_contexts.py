"""Contexts and first occurrences of hand-written rows."""

import torch

from lmlab.nn.ngram_contexts import contexts, first_ones

BEGIN, END = 2, 3


def test_a_context_ends_where_its_text_begins():
    tokens = torch.tensor([[7, 8, END, 9, 10, 11]])
    assert contexts(tokens, 3, begin=BEGIN, end=END).tolist() == [
        [[-1, 7], [7, 8], [-1, BEGIN], [BEGIN, 9], [9, 10], [10, 11]]
    ]
    assert contexts(tokens, 1, begin=BEGIN, end=END).shape == (1, 6, 0)


def test_where_tokens_come_first():
    tokens = torch.tensor([[5, 6, 5, 5, 7], [6, 6, 5, 6, 5]])
    assert first_ones(tokens).long().tolist() == [[1, 1, 0, 0, 1], [1, 0, 1, 0, 0]]

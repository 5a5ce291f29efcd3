"""LazyAdamW: torch's SparseAdam on the tables, torch's AdamW on all else."""

import copy

import pytest
import torch

from lmlab.optimizers import LazyAdamW

SETTINGS = {"lr": 0.1, "betas": (0.9, 0.98)}


def steps(make, sparse=False):
    torch.manual_seed(0)
    table, matrix = (torch.nn.Parameter(torch.randn(10, 4)) for _ in range(2))
    optimizers = make(table, matrix)
    for _ in range(20):
        rows = torch.randint(0, 10, (3,))
        for optimizer in optimizers:
            optimizer.zero_grad()
        read = torch.nn.functional.embedding(rows, table, sparse=sparse)
        (read.square().sum() + (matrix - 1).square().sum()).backward()
        for optimizer in optimizers:
            optimizer.step()
    return table.detach(), matrix.detach()


def test_tables_move_as_under_sparse_adam_and_the_rest_as_under_adamw():
    def lazy(table, matrix):
        groups = [{"params": [table], "weight_decay": 0.0}, {"params": [matrix], "weight_decay": 0.1}]
        return [LazyAdamW(groups, **SETTINGS)]

    def reference(table, matrix):
        return [torch.optim.SparseAdam([table], **SETTINGS), torch.optim.AdamW([matrix], weight_decay=0.1, **SETTINGS)]

    for found, expected in zip(steps(lazy), steps(reference, sparse=True), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_row_that_is_not_used_keeps_its_place():
    table = torch.nn.Parameter(torch.randn(5, 2))
    before = table.detach().clone()
    optimizer = LazyAdamW([{"params": [table]}, {"params": [torch.nn.Parameter(torch.ones(1))]}], lr=0.1)
    table[1].sum().backward()
    optimizer.step()
    moved = (table.detach() != before).any(1).tolist()
    assert moved == [False, True, False, False, False]


def test_it_goes_on_from_its_state_exactly():
    torch.manual_seed(0)
    tables = [torch.nn.Parameter(torch.ones(4, 2)) for _ in range(2)]
    first, second = (LazyAdamW([{"params": [table]}, {"params": []}], lr=0.1) for table in tables)
    for _ in range(3):
        tables[0].grad = torch.randn(4, 2)
        first.step()
    with torch.no_grad():
        tables[1].copy_(tables[0])
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for table, optimizer in zip(tables, (first, second), strict=True):
        table.grad = torch.full((4, 2), 0.5)
        optimizer.step()
    assert torch.equal(*(table.detach() for table in tables))
    assert first.state[tables[0]]["step"] == pytest.approx(4)

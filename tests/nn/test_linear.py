"""The product with few rows is nn.Linear's."""

import pytest
import torch
from torch import nn

from lmlab.nn import linear as module
from lmlab.nn.linear import Linear


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (8, 1), (2, 4), (3, 11), (8, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_few_rows_and_many_are_multiplied_alike(shape, bias, monkeypatch):
    monkeypatch.setattr(module, "LARGE", 1)
    ours, x = Linear(48, 70, bias=bias), torch.randn(*shape, 48)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), nn.functional.linear(x, ours.weight, ours.bias))


def test_it_learns_as_nn_linear_does():
    ours, x = Linear(4, 3), torch.randn(5, 4)
    ours(x).sum().backward()
    torch.testing.assert_close(ours.weight.grad, x.sum(0).expand(3, 4))

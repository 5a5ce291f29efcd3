"""Units are counted by the variance of their means over all texts, however they come."""

import torch

from lmlab.evaluation.active_units import ActiveUnits


def test_units_that_vary_are_counted_over_all_batches():
    mean = torch.randn(200, 5) * torch.tensor([1.0, 0.2, 0.05, 0.0, 0.3]) + torch.tensor([0.0, 50.0, 0.0, 3.0, -9.0])
    metric = ActiveUnits()
    for part in mean.split(33):
        metric.update(part)
    assert metric.compute() == 3 == (mean.var(0) > 0.01).sum()


def test_what_was_counted_is_forgotten():
    metric = ActiveUnits()
    metric.update(torch.randn(50, 4))
    metric.reset()
    metric.update(torch.ones(50, 4))
    assert metric.compute() == 0


def test_a_code_of_no_units_has_none_active():
    metric = ActiveUnits()
    metric.update(torch.zeros(8, 0))
    assert metric.compute() == 0

"""Squared errors that add up, correlations that do not depend on how rows are batched."""

import pytest
import torch
from scipy import stats

from lmlab.errors import ConfigError
from lmlab.models.transformer import Transformer
from lmlab.tasks.regression import Regression


def parts(**changes):
    network = Transformer(
        40, 16, architecture="encoder", max_length=12, n_heads=2, n_layers=1, d_ff=32, dropout=0.0
    ).eval()
    return network, Regression(16, **{"dropout": 0.0, "span": (0.0, 5.0), **changes}).eval()


def batch(n=12):
    tokens = torch.randint(5, 40, (n, 12))
    mask = torch.arange(12) < torch.randint(3, 13, (n, 1))
    return {"rows": torch.arange(n), "tokens": tokens * mask, "mask": mask, "score": torch.randint(0, 21, (n,)) / 4}


def part(whole, rows):
    return {name: value[rows] for name, value in whole.items()}


def test_the_loss_of_a_batch_is_the_sum_of_its_parts():
    network, task = parts()
    whole = batch()
    total, count = task.loss(network, whole)
    halves = [task.loss(network, part(whole, rows))[0] for rows in (slice(0, 5), slice(5, 12))]
    torch.testing.assert_close(total, halves[0] + halves[1])
    torch.testing.assert_close(total, ((task(network, whole) - whole["score"]) ** 2).sum())
    assert count == 12


def test_scores_equal_scipy_and_do_not_depend_on_the_batches():
    network, task = parts()
    whole = batch(60)
    for rows in (slice(0, 7), slice(7, 60)):
        told = task.score(network, part(whole, rows), "val")
    results, estimates = task.results("val"), task(network, whole).detach().double()
    assert list(results) == ["loss", "spearman", "pearson", "rows"] and results["rows"] == 60
    assert results["pearson"] == pytest.approx(stats.pearsonr(estimates, whole["score"]).statistic, abs=1e-6)
    assert results["spearman"] == pytest.approx(stats.spearmanr(estimates, whole["score"]).statistic, abs=1e-6)
    assert told["rows"].tolist() == list(range(7, 60))
    task.reset("val")
    task.score(network, part(whole, slice(0, 3)), "val")
    assert task.results("val")["rows"] == 3


def test_estimates_begin_in_the_middle_of_the_span():
    network, task = parts()
    torch.nn.init.zeros_(task.head[-1].weight)
    torch.nn.init.zeros_(task.head[-1].bias)
    assert task.predict(network, batch(2)) == [{"score": 2.5}, {"score": 2.5}]
    for span in ([5.0, 0.0], [1]):
        with pytest.raises(ConfigError, match="task.span: a lower and an upper end expected, got"):
            parts(span=span)


def test_one_batch_can_be_learned_by_heart():
    network, task = parts()
    whole, parameters = batch(8), [*network.parameters(), *task.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    for _ in range(150):
        loss, count = task.loss(network, whole)
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    assert (task(network, whole) - whole["score"]).abs().max() < 0.2

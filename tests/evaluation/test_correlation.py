"""Equal to scikit-learn's phi and scipy's r, ties and constants among them."""

import pytest
import torch
from scipy import stats
from sklearn.metrics import matthews_corrcoef

from lmlab.evaluation.correlation import Correlations, Matthews, ranks


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_matthews_equals_scikit_learn(n_classes):
    some = torch.randint(n_classes, (200,))
    guesses = torch.where(torch.rand(200) < 0.5, some, torch.randint(n_classes, (200,)))
    constant = torch.ones(200, dtype=torch.long)
    for predicted, label in ((guesses, some), (constant, some), (some, constant), (constant, constant), (some, some)):
        phi = Matthews(n_classes)
        for part in (slice(0, 7), slice(7, 200)):
            phi.update(predicted[part], label[part])
        assert phi.compute().item() == pytest.approx(matthews_corrcoef(label, predicted), abs=1e-12)


@pytest.mark.parametrize("n", [2, 7, 500])
@pytest.mark.parametrize("ties", [False, True])
def test_correlations_equal_scipy(n, ties):
    scores = torch.randint(5, (n,)).float() if ties and n > 2 else torch.rand(n)
    estimates = scores + torch.randn(n)
    estimates = estimates.round() if ties and n > 2 else estimates
    both = Correlations()
    for part in (slice(0, 1), slice(1, 4), slice(4, n)):
        both.update(estimates[part], scores[part])
    told = {name: value.item() for name, value in both.compute().items() if value.ndim == 0}
    x, y = estimates.double(), scores.double()
    assert told["pearson"] == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-9)
    assert told["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert told["loss"] == pytest.approx(((x - y) ** 2).mean().item()) and told["rows"] == n


def test_a_constant_goes_with_nothing():
    both = Correlations()
    both.update(torch.full((3,), 0.1), torch.tensor([1.0, 2.0, 3.0]))
    assert both.compute()["pearson"] == both.compute()["spearman"] == 0


def test_equal_values_share_their_ranks():
    values = torch.tensor([3.0, 1.0, 3.0, 2.0, 3.0])
    assert ranks(values).tolist() == stats.rankdata(values).tolist() == [4, 1, 4, 2, 4]

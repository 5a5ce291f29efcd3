"""The terms of the evidence lower bound as they are written out, and what they come to over batches."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from lmlab.models.autoencoder import Autoencoder
from lmlab.nn.noise import noise_of
from lmlab.tasks.autoencoding import EVALUATION, Autoencoding, divergence, normal
from lmlab.tasks.causal_lm import NONE
from lmlab.tokenizer import Tokenizer

VOCAB, UNITS = 40, 5


def network(**changes):
    sizes = {"d_latent": UNITS, "max_length": 16, "dropout": 0.0, "code": "gaussian"} | changes
    made = Autoencoder(VOCAB, 12, architecture="autoencoder", **sizes).eval()
    for part in filter(None, (made.mean, made.log_variance)):
        torch.nn.init.normal_(part.weight, std=0.5)
    return made


def task(**options):
    made = Autoencoding(**options).eval()
    made.tokenizer = Tokenizer("word", VOCAB)
    return made


def batch(rows=9, length=8):
    text = torch.randint(5, VOCAB, (rows, length))
    lengths = torch.arange(rows) % (length - 2) + 2
    inside = torch.arange(length) < lengths[:, None]
    target = torch.full((rows, length + 1), NONE)
    target[:, :length][inside] = text[inside]
    target[torch.arange(rows), lengths] = Tokenizer.sep_id
    begin = torch.full((rows, 1), Tokenizer.cls_id)
    tokens, mask = torch.cat((begin, text * inside), 1), torch.cat((begin > 0, inside), 1)
    return {"tokens": tokens, "mask": mask, "target": target, "rows": torch.arange(rows)}


def by_hand(made, given, code):
    """-log p(text | code) of each text, token by token."""
    target = given["target"]
    before = torch.cat((torch.full((len(target), 1), Tokenizer.sep_id), target[:, :-1].clamp(min=0)), 1)
    logits = made.logits(made.decode(before, code[:, None]))
    return F.cross_entropy(logits.transpose(1, 2), target, ignore_index=NONE, reduction="none").sum(1)


def test_the_divergence_is_that_of_gaussians():
    mean, log_variance = torch.randn(7, UNITS), torch.randn(7, UNITS)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(divergence(mean, log_variance), expected)


def test_drawn_numbers_are_standard_normal_and_a_texts_own():
    made, mean = task(), torch.zeros(4000, UNITS)
    with noise_of((made,), 1, torch.arange(4000)):
        drawn = made.draw(mean, 3)
    with noise_of((made,), 1, torch.arange(7, 9)):
        torch.testing.assert_close(made.draw(mean[7:9], 3), drawn[:, 7:9])
    assert drawn.shape == (3, 4000, UNITS) and drawn.isfinite().all()
    assert abs(drawn.mean()) < 0.02 and abs(drawn.std() - 1) < 0.02 and abs(drawn.pow(4).mean() - 3) < 0.15
    correlations = torch.corrcoef(drawn.transpose(0, 1).flatten(1).T) - torch.eye(3 * UNITS)
    assert correlations.abs().max() < 0.08


def test_no_drawn_number_is_infinite():
    least, middle, most = normal(torch.tensor([0.0, 0.5, 1 - 2**-24]))
    assert least == -most and 5 < most < 6 and abs(middle) < 1e-6


def test_a_training_loss_is_both_terms_of_the_bound():
    made, given, how = network(), batch(), task(kl_weight=0.5, free_bits=0.3)
    how.annealed = 0.4
    mean, log_variance = made.posterior(given["tokens"], given["mask"])
    with noise_of((how,), 5, given["rows"]):
        loss, n_tokens = how.loss(made, given)
        code = mean + how.draw(mean)[0] * (log_variance / 2).exp()
    kl = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    assert (kl < 0.3).any() and (kl > 0.3).any()
    expected = by_hand(made, given, code).sum() + 0.5 * 0.4 * torch.where(kl < 0.3, 0.3, kl).sum()
    torch.testing.assert_close(loss, expected)
    assert n_tokens == (given["target"] != NONE).sum()


def test_what_is_free_has_no_gradient():
    made, given, gradients = network(), batch(), []
    for options in ({"free_bits": 1e9}, {"kl_weight": 0.0}, {}):
        made.zero_grad()
        torch.manual_seed(0)  # of the codes
        task(**options).loss(made, given)[0].backward()
        gradients.append(made.mean.weight.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1])
    assert not torch.allclose(gradients[0], gradients[2])


def test_a_code_that_is_a_point_costs_nothing_itself():
    made, given, how = network(code="point"), batch(), task()
    mean, none = made.posterior(given["tokens"], given["mask"])
    torch.testing.assert_close(how.loss(made, given)[0], by_hand(made, given, mean).sum())
    how.score(made, given, "val")
    results = how.results("val")
    assert none is None and results["reconstruction"] == pytest.approx(
        by_hand(made, given, mean).mean().item(), rel=1e-5
    )
    assert not {"kl", "nll", "perplexity", "importance_weighted_nll"} & results.keys()


def test_scores_are_means_over_all_texts_and_tokens_however_they_are_batched():
    made, given, how = network(), batch(), task(importance_samples=3)
    whole, parts = task(importance_samples=3), (slice(0, 4), slice(4, 9))
    whole.score(made, given, "val")
    for rows in parts:
        how.score(made, {name: part[rows] for name, part in given.items()}, "val")
    results = how.results("val")
    assert results == pytest.approx(whole.results("val"), rel=1e-5)
    mean, log_variance = made.posterior(given["tokens"], given["mask"])
    with noise_of((how,), EVALUATION, given["rows"]):
        code = mean + how.draw(mean)[0] * (log_variance / 2).exp()
    told, kl = by_hand(made, given, code), divergence(mean, log_variance).sum(1)
    n_tokens = int((given["target"] != NONE).sum())
    assert results["reconstruction"] == pytest.approx(told.mean().item(), rel=1e-5)
    assert results["kl"] == pytest.approx(kl.mean().item(), rel=1e-5)
    assert results["nll"] == pytest.approx((told + kl).mean().item(), rel=1e-5)
    assert results["loss"] == pytest.approx((told + kl).sum().item() / n_tokens, rel=1e-5)
    assert results["perplexity"] == pytest.approx(math.exp(results["loss"]), rel=1e-5)
    assert results["active_units"] == (mean.var(0, correction=0) > 0.01).sum() and results["rows"] == 9
    assert 0 <= results["accuracy"] <= 1 and results["tokens"] == n_tokens


def test_more_codes_bound_the_likelihood_more_tightly():
    made, given, n = network(), batch(), 40
    how = task(importance_samples=n)
    mean, log_variance = made.posterior(given["tokens"], given["mask"])
    with noise_of((how,), 1, given["rows"]):
        weighted = how.importance_weighted(made, given, mean, log_variance)
        drawn = how.draw(mean, n)
    deviation = (log_variance / 2).exp()
    ratios = []
    for code in mean + drawn * deviation:
        of_code = Normal(0.0, 1.0).log_prob(code) - Normal(mean, deviation).log_prob(code)
        ratios.append(of_code.sum(1) - by_hand(made, given, code))
    ratios = torch.stack(ratios)
    torch.testing.assert_close(weighted, -(ratios.logsumexp(0) - math.log(n)), atol=1e-3, rtol=1e-4)
    assert (weighted <= -ratios.mean(0) + 1e-4).all()  # -ELBO by the same codes


def test_the_tighter_bound_is_for_the_end():
    made, given, how = network(), batch(), task(importance_samples=4)
    how.between_steps = True
    how.score(made, given, "val")
    assert "importance_weighted_nll" not in how.results("val")
    how.reset("val")
    how.between_steps = False
    how.score(made, given, "val")
    told = how.results("val")
    assert told["importance_weighted_nll"] < told["nll"] + 5


def test_an_answer_is_the_text_written_from_the_code():
    made, given = network(), batch(3)
    how = task(max_new_tokens=6)
    how.tokenizer.train(["a film that is one of many"] * 3)
    answers = how.predict(made, {name: given[name] for name in ("tokens", "mask")})
    assert len(answers) == 3 and all(set(answer) == {"output"} for answer in answers)

"""The next token: sums that any batch and any number of processes make alike."""

import math

import pytest
import torch

from lmlab.models.gpt2 import GPT2
from lmlab.tasks.causal_lm import NONE, CausalLM


@pytest.fixture
def network():
    return GPT2(20, 16, n_heads=2, n_layers=1, max_length=8).eval()


def batch(rows: int) -> dict:
    target = torch.randint(20, (rows, 8))
    target[0, 3:] = NONE
    n_scored = (target != NONE).sum(1).double()
    tokens = torch.randint(20, (rows, 8))
    return {
        "rows": torch.arange(rows),
        "tokens": tokens,
        "target": target,
        "bytes": 4 * n_scored,
        "words": n_scored / 2,
    }


def part(of: dict, rows: slice) -> dict:
    return {name: value[rows] for name, value in of.items()}


def test_the_loss_is_that_of_the_scored_targets(network):
    some = batch(3)
    loss, count = CausalLM().loss(network, some)
    log_p = network.logits(network.decode(some["tokens"])).log_softmax(-1)
    scored = some["target"] != NONE
    expected = -log_p.gather(-1, some["target"].clamp(min=0).unsqueeze(-1)).squeeze(-1)[scored].sum()
    assert torch.allclose(loss, expected, rtol=1e-5) and count == 19


def test_results_do_not_depend_on_the_batches(network):
    task, some = CausalLM(), batch(6)
    task.score(network, some, "val")
    for rows in (slice(0, 1), slice(1, 3), slice(3, 6)):
        task.score(network, part(some, rows), "test")
    whole, parts = task.results("val"), task.results("test")
    assert whole == pytest.approx(parts, rel=1e-6) and whole["tokens"] == 43
    assert whole["bits_per_byte"] == pytest.approx(whole["loss"] / math.log(2) / 4)
    assert whole["word_perplexity"] == pytest.approx(whole["perplexity"] ** 2)
    task.reset("val")
    task.score(network, part(some, slice(1, 2)), "val")
    assert task.results("val")["tokens"] == 8


def test_a_batch_without_a_target_costs_nothing_and_is_a_number(network):
    some = batch(2)
    some["target"][:] = NONE
    loss, count = CausalLM().loss(network, some)
    assert loss == 0 and count == 0


def test_bytes_of_a_large_corpus_are_counted_exactly(network):
    task, some = CausalLM(), batch(1)
    some["bytes"] = torch.tensor([2.0**30 + 1], dtype=torch.float64)
    task.score(network, some, "val")
    assert task.sums["val"]["bytes"].compute().item() == 2**30 + 1

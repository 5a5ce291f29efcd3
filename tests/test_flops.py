"""Counted operations are those of the formulas in the papers, worked out by hand."""

import pytest
import torch
from torch import nn

from lmlab import flops
from lmlab.models.gpt2 import GPT2
from lmlab.models.rnn import Recurrent

BATCH, LENGTH, WIDTH, LAYERS, VOCAB = 3, 8, 16, 2, 50


def counted(work) -> int:
    with flops.Counter() as counter:
        work()
    return counter.get_total_flops()


def trained_on(network) -> int:
    """Operations of a forward and a backward pass of a language model."""
    network, tokens = network.train(), torch.randint(5, VOCAB, (BATCH, LENGTH))
    return counted(lambda: network.logits(network.decode(tokens)).sum().backward())


@pytest.mark.parametrize("attention_dropout", [0.0, 0.1])
def test_a_gpt_does_six_operations_a_weight_and_token_and_twelve_a_pair_of_tokens(attention_dropout):
    sizes = {"max_length": LENGTH, "n_heads": 2, "n_layers": LAYERS, "attention_dropout": attention_dropout}
    weights = LAYERS * 12 * WIDTH**2 + VOCAB * WIDTH
    expected = BATCH * LENGTH * (6 * weights + 12 * LAYERS * LENGTH * WIDTH)
    assert trained_on(GPT2(VOCAB, WIDTH, **sizes)) == expected


@pytest.mark.parametrize(("cell", "gates"), [("rnn", 1), ("gru", 3), ("lstm", 4)])
def test_a_recurrent_network_does_six_operations_a_weight_and_token(cell, gates):
    weights = LAYERS * gates * 2 * WIDTH**2 + VOCAB * WIDTH
    found = trained_on(Recurrent(VOCAB, WIDTH, architecture="decoder", cell=cell, n_layers=LAYERS))
    first_state = LAYERS * BATCH * 2 * gates * WIDTH**2  # is zero and needs no gradient: some cells do not work it out
    assert BATCH * LENGTH * 6 * weights - found in (0, first_state)


def test_cells_read_backwards_count_as_much_as_forwards():
    def passes(bidirectional: bool) -> int:
        cells = nn.LSTM(WIDTH, WIDTH, batch_first=True, bidirectional=bidirectional)
        return counted(lambda: cells(torch.randn(BATCH, LENGTH, WIDTH, requires_grad=True))[0].sum().backward())

    assert passes(True) == 2 * passes(False) == 2 * BATCH * LENGTH * 6 * 4 * 2 * WIDTH**2


def test_cells_on_a_gpu_count_as_on_a_cpu():
    cells = nn.LSTM(WIDTH, WIDTH, num_layers=LAYERS)
    weights = [weight.shape for weight in cells.parameters()]
    forwards = flops.cudnn_cells((LENGTH, BATCH, WIDTH), weights, 4, None)
    backwards = flops.cudnn_cells_backward((LENGTH, BATCH, WIDTH), weights, 4, None)
    x = torch.randn(LENGTH, BATCH, WIDTH, requires_grad=True)
    assert forwards + backwards == counted(lambda: cells(x)[0].sum().backward())
    assert flops.cudnn_cells((LENGTH * BATCH, WIDTH), weights) == forwards  # packed


def test_a_rate_is_measured_in_little_time_and_takes_no_random_numbers():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert 1e8 < flops.matmul_rate(torch.device("cpu"), "32-true", seconds=0.02) < 1e15
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("precision", "kind"),
    [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16), ("bf16-true", torch.bfloat16)]
    + [("16-mixed", torch.float16), ("64-true", torch.float64)],
)
def test_a_rate_is_measured_in_the_precision_of_the_training(precision, kind, monkeypatch):
    multiplied = set()
    monkeypatch.setattr(torch, "mm", lambda left, right: multiplied.add((left.dtype, right.dtype)))
    flops.matmul_rate(torch.device("cpu"), precision, seconds=0.001)
    assert multiplied == {(kind, kind)}

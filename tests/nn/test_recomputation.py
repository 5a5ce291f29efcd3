"""Activations that are computed twice: the same loss, noise, gradients and counted operations, with less memory."""

from contextlib import nullcontext

import pytest
import torch

from lmlab import flops
from lmlab.errors import ConfigError
from lmlab.memory import Peak
from lmlab.models.bert import Bert
from lmlab.models.gpt2 import GPT2
from lmlab.models.rnn import Recurrent
from lmlab.nn.noise import noise_of

SIZES = {"n_heads": 2, "n_layers": 4}
FAMILIES = {
    "bert": lambda: Bert(50, 16, d_ff=32, dropout=0.2, attention_dropout=0.1, **SIZES),
    "gpt2": lambda: GPT2(50, 16, max_length=24, dropout=0.2, attention_dropout=0.1, **SIZES),
}


def trained_on(network, watch):
    """(loss, gradients) of a step that is gone back through when its batch is done."""
    torch.manual_seed(1)
    network.zero_grad()
    tokens = torch.randint(5, 50, (6, 24))
    with watch:
        with noise_of((network,), 3, torch.arange(6)):
            loss = network.encode(tokens, torch.ones_like(tokens, dtype=torch.bool)).square().sum()
        loss.backward()
    return loss.item(), {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_only_memory_changes(family):
    torch.manual_seed(0)
    kept = FAMILIES[family]().train()
    torch.manual_seed(0)
    again = FAMILIES[family]().train()
    again.recompute()
    counted, held = (flops.Counter(), flops.Counter()), (Peak(), Peak())
    for network, *watches in zip((kept, again), counted, held, strict=True):
        for watch in watches:
            trained_on(network, watch)
    assert counted[1].get_total_flops() == counted[0].get_total_flops() and held[1].most < 0.5 * held[0].most
    (loss, gradients), (found, others) = (trained_on(network, nullcontext()) for network in (kept, again))
    assert found == loss
    assert gradients.keys() == others.keys()
    assert all(torch.equal(others[name], gradient) for name, gradient in gradients.items())


def test_a_family_without_such_layers_says_so():
    with pytest.raises(ConfigError, match="Recurrent has no layers"):
        Recurrent(50, 8, architecture="encoder", cell="gru").recompute()

"""A low-rank change: nothing before the first step, few parameters, equal to its sum with the weights."""

import copy

import torch

from lmlab.checkpointing import WholeCheckpoints
from lmlab.models.bert import Bert
from lmlab.models.gpt2 import GPT2
from lmlab.nn.lora import adapt, merged
from lmlab.weights import load


def bert():
    return Bert(2000, 64, n_heads=4, n_layers=2, d_ff=128, dropout=0.0).eval()


def encoded(network):
    tokens = torch.arange(24).view(2, 12)
    return network.encode(tokens, torch.ones_like(tokens, dtype=torch.bool))


def test_a_change_begins_at_nothing_learns_alone_and_can_be_merged():
    network = bert()
    before = encoded(network)
    original = copy.deepcopy(network.state_dict())
    adapt(network, rank=2, alpha=8.0)
    assert torch.equal(encoded(network), before)
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    assert all(".low_rank." in name or name.startswith("pooler.") for name in learning)
    assert sum(".qkv.low_rank." in name for name in learning) == 4
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        (encoded(network) * torch.linspace(-1, 1, 64)).sum().backward()
        optimizer.step()
    after = encoded(network)
    assert not torch.allclose(after, before, atol=1e-2)
    state = network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in original.items())
    whole = bert()
    whole.load_state_dict(merged(state))
    torch.testing.assert_close(encoded(whole), after, atol=1e-5, rtol=1e-5)


def test_every_map_of_a_decoders_layers_is_changed_and_no_other():
    network = GPT2(60, 32, n_heads=4, n_layers=2, max_length=16)
    adapt(network, rank=2, alpha=4.0)
    changed = {name.partition(".low_rank")[0] for name in network.state_dict() if ".low_rank." in name}
    parts = ("attention.qkv", "attention.output", "feed_forward.0", "feed_forward.2")
    assert changed == {f"decoder.layers.{n}.{part}" for n in range(2) for part in parts}


def test_a_run_that_learned_a_change_is_weights_to_begin_with(tmp_path):
    network = bert()
    adapt(network, rank=2, alpha=8.0)
    for name, parameter in network.named_parameters():
        if name.endswith("low_rank.b"):
            torch.nn.init.normal_(parameter)
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    WholeCheckpoints().save_checkpoint({"state_dict": state}, tmp_path / "some.ckpt")
    other = bert()
    load(other, torch.nn.Identity(), str(tmp_path / "some.ckpt"))
    torch.testing.assert_close(encoded(other), encoded(network), atol=1e-4, rtol=1e-4)

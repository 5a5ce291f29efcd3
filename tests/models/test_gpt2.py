"""GPT-2 against transformers' own, and what every decoder must hold."""

import pytest
import torch
import torch.nn.functional as F

from lmlab.models.gpt2 import GPT2

SHAPE = {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_length": 16, "dropout": 0.0, "attention_dropout": 0.0}


@pytest.fixture
def network():
    return GPT2(50, **SHAPE).eval()


def test_logits_and_gradients_are_those_of_transformers(network):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    theirs = transformers.GPT2LMHeadModel(config).eval()
    ours, left, missing = network.published.to_ours(theirs.state_dict(), network.state_dict())
    network.load_state_dict(ours)
    assert (left, missing) == (["lm_head.weight"], [])
    tokens = torch.randint(50, (3, 12))
    expected = theirs(tokens, labels=tokens)
    logits = network.logits(network.decode(tokens))
    assert torch.allclose(logits, expected.logits, atol=1e-5)
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    expected.loss.backward()
    assert torch.allclose(loss, expected.loss, atol=1e-6)
    for ours, other in (
        (network.embedding.weight, theirs.transformer.wte.weight),
        (network.decoder.layers[0].attention.qkv.weight, theirs.transformer.h[0].attn.c_attn.weight),
    ):
        gradient = other.grad if ours.shape == other.shape and ours.shape[0] != 96 else other.grad.T
        assert torch.allclose(ours.grad, gradient, atol=1e-5)


def test_a_token_changes_no_state_before_it(network):
    tokens = torch.randint(50, (2, 10))
    changed = tokens.clone()
    changed[:, 6] = (changed[:, 6] + 1) % 50
    before, after = network.decode(tokens), network.decode(changed)
    assert torch.equal(before[:, :6], after[:, :6]) and not torch.allclose(before[:, 6:], after[:, 6:])


def test_a_document_does_not_see_the_one_before_it(network):
    tokens = torch.randint(50, (1, 10))
    changed = tokens.clone()
    changed[:, 2] = (changed[:, 2] + 1) % 50
    documents = torch.tensor([[0] * 4 + [1] * 6])
    before, after = (network.decode(some, documents=documents) for some in (tokens, changed))
    assert torch.equal(before[:, 4:], after[:, 4:]) and not torch.allclose(before[:, 2:4], after[:, 2:4])


def test_a_cache_changes_nothing(network):
    tokens, cache = torch.randint(50, (2, 9)), {}
    parts = [network.decode(tokens[:, :4], cache=cache)]
    parts += [network.decode(tokens[:, t : t + 1], cache=cache) for t in range(4, 9)]
    assert torch.allclose(torch.cat(parts, dim=1), network.decode(tokens), atol=1e-5)


def test_a_text_is_the_state_of_its_last_token_whatever_pads_it(network):
    tokens, mask = torch.randint(1, 50, (2, 9)), torch.ones(2, 9, dtype=torch.bool)
    mask[0, 5:] = False
    pooled = network.pool(network.encode(tokens, mask), mask)
    alone = network.encode(tokens[:1, :5], mask[:1, :5])
    assert torch.allclose(pooled[0], alone[0, -1], atol=1e-6)


def test_the_published_size_has_the_published_number_of_parameters():
    with torch.device("meta"):
        small = GPT2(50257)
    assert sum(parameter.numel() for parameter in small.parameters()) == 124_439_808


def test_what_is_added_to_the_stream_begins_small():
    layer = GPT2(500, 256, n_heads=4, n_layers=8, max_length=16).decoder.layers[3]
    assert layer.attention.output.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert layer.attention.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)

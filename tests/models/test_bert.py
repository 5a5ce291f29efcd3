"""BERT and RoBERTa against transformers' own, with every weight drawn at random."""

import pytest
import torch
import torch.nn.functional as F

from lmlab.models.bert import Bert

SIZES = {"d_model": 32, "n_heads": 4, "n_layers": 3, "d_ff": 64, "dropout": 0.0, "masked_head": True}
KINDS = {
    "bert": {"max_positions": 20},
    "roberta": {"max_positions": 22, "first_position": 2, "n_segments": 1, "norm_eps": 1e-5},
}


@pytest.fixture(params=KINDS)
def both(request):
    """Our network and theirs with the same weights."""
    transformers = pytest.importorskip("transformers")
    network = Bert(60, **SIZES, **KINDS[request.param]).eval()
    dropouts = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = transformers.AutoConfig.for_model(**network.config(), pad_token_id=1, **dropouts)
    theirs = transformers.AutoModelForMaskedLM.from_config(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours, left, missing = network.published.to_ours(theirs.state_dict(), network.state_dict())
    network.load_state_dict(ours)
    assert not missing and all(network.published.is_head(name) for name in left)
    return network, theirs


def batch():
    tokens, mask = torch.randint(5, 60, (4, 16)), torch.ones(4, 16, dtype=torch.bool)
    mask[1, 9:], tokens[1, 9:] = False, 1
    segments = (torch.arange(16) > 6).long().expand(4, -1) * mask
    return tokens, mask, segments


def test_states_logits_and_gradients_are_those_of_transformers(both):
    network, theirs = both
    tokens, mask, segments = batch()
    told = {"token_type_ids": segments} if network.segments.num_embeddings > 1 else {}
    expected = theirs(input_ids=tokens, attention_mask=mask.long(), output_hidden_states=True, **told)
    states = network.encode(tokens, mask, segments)
    logits = network.logits(states)
    torch.testing.assert_close(states[mask], expected.hidden_states[-1][mask], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits[mask], expected.logits[mask], atol=1e-5, rtol=1e-5)
    for scores in (logits, expected.logits):
        F.cross_entropy(scores[mask], tokens[mask]).backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    found, _, missing = network.published.to_ours(gradients, dict(network.named_parameters()))
    assert not missing
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, found[name], atol=1e-5, rtol=1e-5)


def test_weights_go_to_transformers_and_back_bit_for_bit(both):
    network, theirs = both
    written = network.published.to_theirs(network.state_dict())
    own = {network.published.plain(name): tensor for name, tensor in theirs.state_dict().items()}
    assert all(torch.equal(tensor, own[name]) for name, tensor in written.items())
    back, left, missing = network.published.to_ours(written, network.state_dict())
    assert not left and not missing
    assert all(torch.equal(tensor, back[name]) for name, tensor in network.state_dict().items())


def test_padding_changes_no_state(both):
    network, _ = both
    tokens, mask, segments = batch()
    alone = network.encode(tokens[1:2, :9], mask[1:2, :9], segments[1:2, :9])
    torch.testing.assert_close(network.encode(tokens, mask, segments)[1:2, :9], alone, atol=1e-5, rtol=1e-5)


def test_a_text_longer_than_the_positions_is_refused():
    with pytest.raises(Exception, match="texts of 64 tokens, and positions for 18"):
        Bert(60, max_length=64, **SIZES, **{**KINDS["roberta"], "max_positions": 20})


@pytest.mark.parametrize("pooling", ["pooler", "first", "mean"])
def test_a_text_has_one_vector(pooling):
    network = Bert(60, **{**SIZES, "masked_head": False}, pooling=pooling).eval()
    tokens, mask, _ = batch()
    states = network.encode(tokens, mask)
    pooled = network.pool(states, mask)
    expected = {
        "first": states[:, 0],
        "mean": torch.stack([row[real].mean(0) for row, real in zip(states, mask, strict=True)]),
        "pooler": network.pooler(states[:, 0]).tanh() if network.pooler else None,
    }[pooling]
    torch.testing.assert_close(pooled, expected)

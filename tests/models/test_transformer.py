"""Properties that any Transformer has, whatever it has learned."""

import pytest
import torch

from lmlab.errors import ConfigError
from lmlab.models.transformer import Transformer

VOCAB = 50


def tiny(architecture="encoder", **changes):
    sizes = {"d_model": 16, "n_heads": 2, "n_layers": 2, "d_ff": 32, "max_length": 24, "dropout": 0.0}
    network = Transformer(VOCAB, architecture=architecture, **(sizes | changes)).eval()
    if network.ngrams is not None:
        network.ngrams.learn([texts(40, 20)], min_count=1)
    return network


def texts(batch=3, length=10):
    return torch.randint(5, VOCAB, (batch, length))


VARIANTS = [
    {"positions": "learned"},
    {"positions": "sinusoidal"},
    {"positions": "rotary"},
    {"ngram_orders": (2, 3), "ngram_rows": 64},
    {"n_heads": 4, "n_kv_heads": 2, "positions": "rotary"},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_changes_nothing(variant):
    network, tokens = tiny(**variant), texts()
    mask = torch.ones_like(tokens, dtype=torch.bool)
    padded = torch.cat((tokens, torch.zeros(3, 6, dtype=torch.int64)), dim=1)
    padded_mask = torch.cat((mask, torch.zeros(3, 6, dtype=torch.bool)), dim=1)
    alone, beside = network.encode(tokens, mask), network.encode(padded, padded_mask)
    torch.testing.assert_close(alone, beside[:, :10], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network.pool(alone, mask), network.pool(beside, padded_mask), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_encoder_sees_both_sides_and_a_decoder_only_the_past(variant):
    tokens = texts()
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] - 5 + 1) % (VOCAB - 5) + 5
    mask = torch.ones_like(tokens, dtype=torch.bool)
    encoder = tiny(**variant)
    assert not torch.allclose(encoder.encode(tokens, mask)[:, 0], encoder.encode(changed, mask)[:, 0])
    decoder = tiny("decoder", **variant)
    before, after = decoder.decode(tokens), decoder.decode(changed)
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_a_document_is_read_as_if_it_stood_alone():
    decoder, tokens = tiny("decoder", positions="rotary"), texts(2, 10)
    documents = torch.tensor([[0] * 4 + [1] * 6, [7] * 7 + [8] * 3])
    states = decoder.decode(tokens, documents=documents)
    for row, cut in enumerate((4, 7)):
        for part in (slice(0, cut), slice(cut, 10)):
            torch.testing.assert_close(states[row : row + 1, part], decoder.decode(tokens[row : row + 1, part]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_cached_decoder_equals_one_that_reads_all_again(variant):
    decoder, tokens, cache = tiny("decoder", **variant), texts(), {}
    parts = [decoder.decode(tokens[:, :4], cache=cache)]
    parts += [decoder.decode(tokens[:, t : t + 1], cache=cache) for t in range(4, 10)]
    torch.testing.assert_close(torch.cat(parts, dim=1), decoder.decode(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("cuts", [(4, 7, 8), (1, 2, 5), (2, 3, 4)])
def test_a_cached_decoder_reads_any_number_of_tokens_at_a_time(variant, cuts):
    decoder, tokens, cache = tiny("decoder", **variant), texts(), {}
    parts = [decoder.decode(part, cache=cache) for part in tokens.tensor_split(cuts, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), decoder.decode(tokens), atol=1e-5, rtol=1e-5)


def test_an_encoder_decoder_reads_its_memory_and_not_the_padding_of_it():
    network, source, target = tiny("encoder-decoder"), texts(), texts(length=7)
    mask = torch.ones_like(source, dtype=torch.bool)
    mask[:, 8:] = False
    memory = network.encode(source, mask)
    states = network.decode(target, memory, mask)
    memory[:, 8:] = 1e3
    torch.testing.assert_close(states, network.decode(target, memory, mask))
    memory[:, 0] += 1.0
    assert not torch.allclose(states, network.decode(target, memory, mask))
    assert network.logits(states).shape == (3, 7, VOCAB)


PAIRS = [
    *VARIANTS,
    {"separate_embeddings": True},
    {"post_norm": True, "activation": "relu", "positions": "sinusoidal", "scale_embeddings": True},
]


def read(network, rows=3):
    """A memory of texts with padding, and the mask of it."""
    source = texts(rows)
    mask = torch.ones_like(source, dtype=torch.bool)
    mask[1, 8:] = False
    return network.encode(source, mask).detach(), mask


@pytest.mark.parametrize("variant", PAIRS)
def test_a_cached_decoder_of_a_memory_equals_one_that_reads_all_again(variant):
    network, target, cache = tiny("encoder-decoder", **variant), texts(), {}
    memory, mask = read(network)
    parts = [network.decode(part, memory, mask, cache) for part in target.tensor_split((1, 4, 5), dim=1)]
    whole = network.decode(target, memory, mask)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-5)


def test_beams_that_share_a_memory_write_what_they_would_from_copies_of_it():
    network, target = tiny("encoder-decoder"), texts(6, 7)
    memory, mask = read(network)
    copies = network.decode(target, memory.repeat_interleave(2, dim=0), mask.repeat_interleave(2, dim=0))
    torch.testing.assert_close(network.decode(target, memory, mask), copies, atol=1e-5, rtol=1e-5)


def test_an_encoder_decoder_tells_where_its_last_layer_looks():
    network, target = tiny("encoder-decoder"), texts(6, 7)
    memory, mask = read(network)
    cache = {"alignment": None}
    states = network.decode(target[:, :5], memory, mask, cache)
    torch.testing.assert_close(states, network.decode(target[:, :5], memory, mask), atol=1e-5, rtol=1e-5)
    weights = cache["alignment"]
    torch.testing.assert_close(weights.sum(-1), torch.ones(6, 5))
    assert network.alignments and (weights[2:4, :, 8:] == 0).all() and (weights[4:] > 0).all()
    network.decode(target[:, 5:], memory, mask, cache)
    assert cache["alignment"].shape == (6, 2, 10)


@pytest.mark.parametrize("variant", PAIRS[-2:])
def test_one_batch_of_pairs_can_be_overfitted(variant):
    network, source, target = tiny("encoder-decoder", **variant).train(), texts(4, 6), texts(4, 7)
    target[:, 0] = 2  # what is to be written is told by the source alone
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    mask = torch.ones_like(source, dtype=torch.bool)
    for _ in range(60):
        optimizer.zero_grad()
        states = network.decode(target[:, :-1], network.encode(source, mask), mask)
        loss = network.losses(states.flatten(0, 1), target[:, 1:].flatten()).mean()
        loss.backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    assert loss < 0.5


def test_the_embeddings_of_a_source_are_its_own_where_they_are_not_shared():
    shared, own = tiny("encoder-decoder"), tiny("encoder-decoder", separate_embeddings=True)
    assert own.n_parameters - shared.n_parameters == VOCAB * 16
    assert tiny("decoder", separate_embeddings=True).n_parameters == tiny("decoder").n_parameters


def test_scaled_embeddings_are_as_large_as_the_sinusoids():
    network, tokens = tiny(positions="sinusoidal", scale_embeddings=True, d_model=64), texts(40)
    vectors = network.embed(tokens) - network.positions(torch.zeros(40, 10, 64))
    assert 0.9 < vectors.std() < 1.1


def test_output_weights_are_the_embeddings():
    tied, untied = tiny("decoder"), tiny("decoder", tie_weights=False)
    assert tied.output.weight is tied.embedding.weight
    assert untied.output.weight is not untied.embedding.weight


@pytest.mark.parametrize(
    ("architecture", "method"), [("decoder", "encode"), ("encoder", "decode"), ("encoder", "logits")]
)
def test_a_missing_side_says_so(architecture, method):
    network, tokens = tiny(architecture), texts()
    arguments = {
        "encode": (tokens, torch.ones_like(tokens, dtype=torch.bool)),
        "decode": (tokens,),
        "logits": (torch.zeros(1, 2, 16),),
    }
    with pytest.raises(NotImplementedError, match="Transformer has no"):
        getattr(network, method)(*arguments[method])


def test_heads_must_divide_the_width():
    with pytest.raises(ConfigError, match="not divisible"):
        tiny(d_model=17)


def test_token_dropout_blanks_whole_tokens_in_training_only():
    network = tiny(token_dropout=0.5).train()
    x = torch.ones(20, 10, 16)
    blanked = network.embedding.blank(x)
    assert set(blanked.sum(-1).unique().tolist()) == {0.0, 16.0}
    assert 0.3 < blanked.mean() < 0.7
    assert network.eval().embedding.blank(x) is x

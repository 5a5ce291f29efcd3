"""Properties that an autoencoder of texts has, whatever its layers and whatever it has learned."""

import pytest
import torch

from lmlab.errors import ConfigError
from lmlab.generate import continuations
from lmlab.models.autoencoder import Autoencoder

VOCAB, UNITS = 50, 6
LAYERS = [(one, other) for one in ("gru", "transformer") for other in ("gru", "lstm", "rnn", "transformer")]


def tiny(layers=("gru", "gru"), architecture="autoencoder", **changes):
    sizes = {"d_latent": UNITS, "n_layers": 2, "n_heads": 2, "d_ff": 32, "max_length": 24, "dropout": 0.0}
    sizes |= {"encoder": layers[0], "decoder": layers[1], "code": "gaussian"}
    return Autoencoder(VOCAB, 16, architecture=architecture, **(sizes | changes)).eval()


def texts(batch=3, length=10):
    return torch.randint(5, VOCAB, (batch, length))


def codes(batch=3):
    return torch.randn(batch, 1, UNITS)


@pytest.mark.parametrize("layers", LAYERS)
def test_padding_changes_no_code(layers):
    network, tokens = tiny(layers), texts()
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, 7:] = False
    padded = torch.cat((tokens, torch.zeros(3, 6, dtype=torch.int64)), dim=1)
    padded[1, 7:] = 9
    padded_mask = torch.cat((mask, torch.zeros(3, 6, dtype=torch.bool)), dim=1)
    for alone, beside in zip(network.posterior(tokens, mask), network.posterior(padded, padded_mask), strict=True):
        torch.testing.assert_close(alone, beside, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layers", LAYERS)
def test_a_decoder_sees_the_code_and_the_past_alone(layers):
    network, tokens, memory = tiny(layers), texts(), codes()
    changed, other = tokens.clone(), memory.clone()
    changed[:, 5] = (changed[:, 5] - 5 + 1) % (VOCAB - 5) + 5
    other[1] += 1.0
    states, after = network.decode(tokens, memory), network.decode(changed, memory)
    torch.testing.assert_close(states[:, :5], after[:, :5])
    assert not torch.allclose(states[:, 5:], after[:, 5:])
    beside = network.decode(tokens, other)
    torch.testing.assert_close(states[[0, 2]], beside[[0, 2]])
    assert ((states[1] - beside[1]).abs().amax(-1) > 1e-4).all()  # at every step


@pytest.mark.parametrize("layers", LAYERS)
def test_a_cached_decoder_equals_one_that_reads_all_again(layers):
    network, tokens, memory, cache = tiny(layers), texts(4), codes(2), {}
    parts = [network.decode(part, memory, cache=cache) for part in tokens.tensor_split((4, 5, 6), dim=1)]
    whole = network.decode(tokens, memory.repeat_interleave(2, dim=0))
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layers", LAYERS[::3])
def test_a_text_is_written_from_its_own_code(layers):
    network, memory = tiny(layers), 3 * codes(3)
    options = {"vocabulary": VOCAB, "max_new_tokens": 12, "temperature": 0.0}
    together = continuations(network, [[3]] * 3, memory=memory, **options)
    for row in range(3):  # alone with guesses ahead, where the family can forget
        assert continuations(network, [[3]], memory=memory[row : row + 1], **options) == [together[row]]


@pytest.mark.parametrize("layers", LAYERS[::3])
def test_one_batch_can_be_overfitted(layers):
    network, tokens = tiny(layers, code="point").train(), texts(4, 8)
    tokens[:, 0] = 2
    mask = torch.ones_like(tokens, dtype=torch.bool)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        code, none = network.posterior(tokens, mask)
        states = network.decode(tokens[:, :-1], code.unsqueeze(1))
        loss = network.losses(states.flatten(0, 1), tokens[:, 1:].flatten()).mean()
        loss.backward()
        optimizer.step()
    assert none is None and loss < 0.3
    assert all(parameter.grad is not None for parameter in network.parameters())  # as DDP wants it


def test_the_encoder_reads_a_noisy_copy_and_the_decoder_misses_words_in_training_only():
    noisy, tokens, memory = tiny(deletion=0.5, shuffle=3, blanking=0.3, word_dropout=0.5), texts(), codes()
    mask = torch.ones_like(tokens, dtype=torch.bool)

    def told():
        return noisy.posterior(tokens, mask)[0], noisy.decode(tokens, memory)

    for one, again in zip(told(), told(), strict=True):
        assert torch.equal(one, again)
    noisy.train()
    for one, again in zip(told(), told(), strict=True):
        assert not torch.allclose(one, again)


def test_an_encoder_alone_has_the_code_as_its_vector_and_no_decoder():
    network, encoder = tiny(), tiny(architecture="encoder")
    tokens, mask = texts(), torch.ones(3, 10, dtype=torch.bool)
    assert network.vector(tokens, mask).shape == (3, UNITS)
    assert torch.equal(network.vector(tokens, mask), network.posterior(tokens, mask)[0])
    assert torch.equal(network.vector(tokens, mask), network.pool(network.encode(tokens, mask), mask))
    left = set(network.state_dict()) - set(encoder.state_dict())
    assert left and all(name.startswith(network.may_begin_anew) for name in left)
    assert set(encoder.state_dict()) < set(network.state_dict())
    with pytest.raises(NotImplementedError, match="no decoder"):
        encoder.decode(tokens, codes())


@pytest.mark.parametrize("decoder", ["gru", "transformer"])
def test_without_units_it_is_a_language_model(decoder):
    network, tokens = tiny(("gru", decoder), d_latent=0), texts()
    code, _ = network.posterior(tokens, torch.ones_like(tokens, dtype=torch.bool))
    assert code.shape == (3, 0) and network.prior(2).shape == (2, 1, 0)
    assert network.logits(network.decode(tokens, code.unsqueeze(1))).shape == (3, 10, VOCAB)
    assert not any(name.startswith(("reader", "mean", "log_variance")) for name, _ in network.named_parameters())


def test_codes_are_drawn_from_a_standard_normal_where_there_is_a_prior():
    drawn = tiny().prior(20_000, torch.Generator().manual_seed(1))
    assert drawn.shape == (20_000, 1, UNITS)
    torch.testing.assert_close(drawn.mean((0, 1)), torch.zeros(UNITS), atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.std((0, 1)), torch.ones(UNITS), atol=0.03, rtol=0)
    with pytest.raises(NotImplementedError, match="no distribution to draw codes from"):
        tiny(code="point").prior(3)


def test_sizes_that_cannot_be():
    with pytest.raises(ConfigError, match="not divisible by n_heads 3"):
        tiny(("transformer", "gru"), n_heads=3)
    with pytest.raises(ConfigError, match="a code of no units tells nothing"):
        tiny(architecture="encoder", d_latent=0)
    with pytest.raises(ConfigError, match="cannot be halved"):
        Autoencoder(VOCAB, 15, architecture="encoder", max_length=8)

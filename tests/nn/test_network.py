"""A compiled network: the same numbers, the same names, and graphs that were made."""

import copy

import jaxtyping
import pytest
import torch

from lmlab.models.bert import Bert
from lmlab.models.gpt2 import GPT2
from lmlab.models.rnn import Recurrent
from lmlab.models.transformer import Transformer
from lmlab.nn.noise import noise_of

GPT = {"max_length": 12, "n_heads": 2, "n_layers": 1, "attention_dropout": 0.0}
NOISY = {"max_length": 12, "n_heads": 2, "n_layers": 1, "token_dropout": 0.2, "ngram_orders": [2], "ngram_rows": 9}
FAMILIES = {
    "gpt2": lambda: GPT2(30, 8, **GPT),
    "encoder": lambda: Transformer(30, 8, architecture="encoder", d_ff=16, **NOISY),
}


@pytest.fixture(autouse=True)
def compilable():
    """No graphs of other tests, and no checks of shapes, which are no part of a graph."""
    torch.compiler.reset()
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
    torch.compiler.reset()


def loss(network, tokens):
    """Of a training step, with all its noise."""
    with noise_of((network,), 3, torch.arange(len(tokens))):
        if isinstance(network, GPT2):
            return network.losses(network.decode(tokens).flatten(0, 1), tokens.flatten()).sum()
        return network.encode(tokens, tokens > 3).square().sum()


def same_as_before(network, n_shapes, **options):
    """Compares a network with itself compiled, on batches of several shapes."""
    plain = copy.deepcopy(network)
    network.compile(**options)
    assert list(network.state_dict()) == list(plain.state_dict())
    for shape in [(4, 12), (3, 7), (5, 9)][:n_shapes]:
        tokens = torch.randint(0, 30, shape)
        losses = [loss(one, tokens) for one in (network, plain)]
        torch.testing.assert_close(*losses)
        for value in losses:
            value.backward()
        for found, expected in zip(network.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(found.grad, expected.grad, atol=1e-4, rtol=1e-3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_what_tasks_call_is_compiled_in_place_and_changes_no_number(family):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    network = FAMILIES[family]()
    same_as_before(network, 3, backend=backend, dynamic=True)
    assert sum(len(graph.graph.nodes) for graph in graphs) > 50
    made = len(graphs)
    if family == "gpt2":
        network.eval()
        cache = {}
        written = [network.decode(torch.full((1, 1), token), cache=cache) for token in (5, 6, 7)]
        assert len(graphs) == made  # writing grows a cache: no graph a length
        torch.testing.assert_close(torch.cat(written, 1), network.decode(torch.tensor([[5, 6, 7]])))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_machine_code_gives_the_same_numbers(family):
    same_as_before(FAMILIES[family](), 1)


TEXTS = {
    "pooler": lambda: Bert(30, 16, n_heads=2, n_layers=3, d_ff=32, dropout=0.2),
    "first": lambda: Bert(30, 16, n_heads=2, n_layers=3, d_ff=32, dropout=0.2, pooling="first"),
    "mean": lambda: Bert(30, 16, n_heads=2, n_layers=3, d_ff=32, dropout=0.2, pooling="mean"),
    "gpt2": lambda: GPT2(30, 16, max_length=12, n_heads=2, n_layers=3, dropout=0.2, attention_dropout=0.0),
    "lstm": lambda: Recurrent(30, 8, architecture="encoder", cell="lstm"),
}


@pytest.mark.parametrize("family", TEXTS)
def test_the_vector_of_a_text_is_its_pooled_states_with_their_gradients(family):
    network = TEXTS[family]().train()
    tokens = torch.randint(5, 30, (4, 12))
    mask = torch.arange(12) < torch.tensor([12, 7, 1, 9])[:, None]
    found = []
    for make in (network.vector, lambda *both: network.pool(network.encode(*both), mask)):
        network.zero_grad()
        with noise_of((network,), 3, torch.arange(4)):
            made = make(tokens, mask)
        (made * torch.linspace(-1, 1, made.shape[1])).sum().backward()
        found.append((made.detach(), {name: p.grad for name, p in network.named_parameters() if p.grad is not None}))
    (vector, gradients), (pooled, expected) = found
    torch.testing.assert_close(vector, pooled, atol=1e-5, rtol=1e-5)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4)

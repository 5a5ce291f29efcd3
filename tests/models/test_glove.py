"""GloVe: its steps are those of AdaGrad on the published least squares."""

import numpy as np
import pytest
import torch

from lmlab.models.glove import Glove
from lmlab.nn.cooccurrence import cooccurrences
from lmlab.nn.pairs import both_ways

VOCAB = 40


def tiny(**options):
    network = Glove(VOCAB, 8, **{"window": 2, "enough": 3.0} | options)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    return network


def counted(n=60):
    values = np.random.default_rng(0).integers(5, VOCAB, n)
    first, second, weight = cooccurrences(values, np.array([0, n // 2, n]), 2, ordinary=5)
    return torch.from_numpy(first), torch.from_numpy(second), torch.from_numpy(weight).float()


def test_gradients_are_those_of_each_pair():
    network, (first, second, weight) = tiny(), counted()
    total, found = network.gradients(both_ways(first, second, weight, VOCAB))
    expected = {parameter: [torch.zeros_like(parameter), torch.zeros_like(parameter)] for parameter in found}
    loss = 0.0
    for i, j, x in zip(
        torch.cat((first, second)), torch.cat((second, first)), torch.cat((weight, weight)), strict=True
    ):
        error = network.embedding.weight[i] @ network.output.weight[j] + network.bias[i] + network.output_bias[j]
        of_pair = (x / 3).clamp(max=1) ** 0.75 * (error - x.log()) ** 2
        loss += of_pair.item()
        for parameter, parts in zip(expected, torch.autograd.grad(of_pair, list(expected)), strict=True):
            own = expected[parameter]
            own[0] += parts / 2
            own[1] += (parts / 2) ** 2
    assert total.item() == pytest.approx(loss, rel=1e-4)
    for parameter, parts in found.items():
        for told, own in zip(parts, expected[parameter], strict=True):
            torch.testing.assert_close(told, own, rtol=1e-4, atol=1e-4)


def test_what_a_text_costs_is_the_softmax_over_all_words():
    network = tiny()
    tokens = torch.tensor([[3, 10, 11, 12, 3, 13, 14], [15, 2, 16, 17, 0, 0, 0]])
    cost, weight = network.neighbour_loss(tokens, tokens > 0)
    scores = network.embedding.weight @ network.output.weight.T + network.output_bias
    told = scores[:, 5:].log_softmax(1)
    pairs = [(10, 11, 1.0), (10, 12, 0.5), (11, 12, 1.0), (13, 14, 1.0), (15, 16, 1.0), (15, 17, 0.5), (16, 17, 1.0)]
    expected = -sum(share * (told[i, j - 5] + told[j, i - 5]) for i, j, share in pairs)
    assert weight.item() == pytest.approx(2 * sum(share for *_, share in pairs))
    torch.testing.assert_close(cost, expected.detach())


def test_a_text_without_neighbours_costs_nothing():
    tokens = torch.tensor([[3, 1, 0], [3, 10, 3]])
    cost, weight = tiny().neighbour_loss(tokens, tokens > 0)
    assert cost.item() == weight.item() == 0


def test_a_vector_is_the_sum_of_both_tables_and_an_encoder_has_one():
    network = tiny()
    assert torch.equal(network.word_vectors(), network.embedding.weight + network.output.weight)
    encoder = Glove(VOCAB, 8, architecture="encoder")
    tokens = torch.tensor([[10, 11, 0]])
    assert torch.equal(encoder.encode(tokens, tokens > 0), encoder.embedding.weight[tokens])
    assert {name for name, _ in encoder.named_parameters()} == {"embedding.table.weight"}

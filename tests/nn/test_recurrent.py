"""A stack of our layers is torch's own module of several layers, and weights between states can be dropped."""

import pytest
import torch

from lmlab.nn.pooling import AttentionPooling, last_states
from lmlab.nn.recurrent import CELLS, RecurrentLayer, RecurrentStack


def torch_stack(ours, cell, bidirectional):
    """torch's module with the weights of `ours`."""
    theirs = CELLS[cell](6, 8 // (1 + bidirectional), num_layers=2, batch_first=True, bidirectional=bidirectional)
    for number, layer in enumerate(ours.layers):
        for name, weight in layer.cells.named_parameters():
            getattr(theirs, name.replace("_l0", f"_l{number}")).data.copy_(weight)
    return theirs


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_stack_is_torchs_own(cell, bidirectional):
    ours = RecurrentStack(cell, 2, d_input=6, d_model=8, bidirectional=bidirectional)
    theirs = torch_stack(ours, cell, bidirectional)
    x = torch.randn(3, 7, 6)
    states, last = ours(x)
    expected, final = theirs(x)
    torch.testing.assert_close(states, expected)
    parts = final if isinstance(final, tuple) else (final,)  # each (layers * directions, B, H)
    by_layer = torch.stack([part.unflatten(0, (2, -1)) for part in parts], dim=1)  # (L, parts, directions, B, H)
    torch.testing.assert_close(last, by_layer.flatten(1, 2).permute(2, 0, 1, 3))
    start = torch.randn_like(last)
    again = start.permute(1, 2, 0, 3).unflatten(1, (len(parts), -1)).transpose(0, 1).flatten(1, 2)
    given = tuple(part.contiguous() for part in again)
    torch.testing.assert_close(ours(x, start)[0], theirs(x, given if cell == "lstm" else given[0])[0])


@pytest.mark.parametrize("cell", CELLS)
def test_beyond_its_length_a_text_is_not_read(cell):
    stack, x, lengths = (
        RecurrentStack(cell, 2, d_input=6, d_model=8, bidirectional=True),
        torch.randn(3, 7, 6),
        [4, 7, 1],
    )
    states, last = stack(x, lengths=torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone, alone_last = stack(x[row : row + 1, :length])
        torch.testing.assert_close(states[row, :length], alone[0])
        torch.testing.assert_close(last[row], alone_last[0])


@pytest.mark.parametrize("cell", CELLS)
def test_dropped_weights_are_told_by_their_seed_and_learn(cell):
    layer, x = RecurrentLayer(cell, 6, 8, weight_dropout=0.5), torch.randn(3, 7, 6)
    said = {}
    for seed in (1, 2, 1):
        layer.seed = seed
        states, _ = layer(x)
        torch.testing.assert_close(states, said.setdefault(seed, states), atol=0, rtol=0)
    assert not torch.allclose(said[1], said[2])
    said[1].sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in layer.cells.parameters())
    plain = RecurrentLayer(cell, 6, 8)
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer.eval()(x)[0], plain(x)[0])


def test_an_lstm_starts_with_open_forget_gates():
    cells = RecurrentLayer("lstm", 6, 8).cells
    assert (cells.bias_ih_l0 + cells.bias_hh_l0).tolist() == [0] * 8 + [1] * 8 + [0] * 16
    gate = cells.weight_hh_l0[8:16]
    torch.testing.assert_close(gate @ gate.T, torch.eye(8))


def test_pooling_sees_real_tokens_only():
    states, mask = torch.randn(2, 5, 4), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    pooling, changed = AttentionPooling(4), states.clone()
    changed[0, 3:] = 1e3
    torch.testing.assert_close(pooling(states, mask), pooling(changed, mask))
    torch.testing.assert_close(last_states(states, mask, False), torch.stack((states[0, 2], states[1, 4])))
    both = last_states(states, mask, True)
    torch.testing.assert_close(both[0], torch.cat((states[0, 2, :2], states[0, 0, 2:])))

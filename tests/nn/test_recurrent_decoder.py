"""Recurrent decoders: cells step as torch's own do, and states are those of the published equations, token by token."""

import pytest
import torch

from lmlab.nn.recurrent import CELLS, RecurrentLayer
from lmlab.nn.recurrent_decoder import ALIGNED, STEPS, RecurrentDecoder

LENGTHS = torch.tensor([5, 2])


def decoder(cell="lstm", alignment="luong", **changes):
    sizes = {"n_layers": 2, "d_input": 6, "d_model": 8, "bidirectional": True}
    return RecurrentDecoder(cell, alignment=alignment, **(sizes | changes)).eval()


def source():
    """Two memories, and the mask of their places."""
    return torch.randn(2, 5, 8), torch.arange(5) < LENGTHS[:, None]


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_is_that_of_torchs_cells(cell):
    cells, x = RecurrentLayer(cell, 6, 8).cells, torch.randn(3, 6)
    state = tuple(torch.randn(3, 8) for _ in range(1 + (cell == "lstm")))
    for bias in (cells.bias_ih_l0, cells.bias_hh_l0):
        torch.nn.init.normal_(bias)
    given = tuple(part.unsqueeze(0) for part in state)
    _, last = cells(x.unsqueeze(1), given if cell == "lstm" else given[0])
    inputs = torch.nn.functional.linear(x, cells.weight_ih_l0, cells.bias_ih_l0)
    recurrent = torch.nn.functional.linear(state[0], cells.weight_hh_l0, cells.bias_hh_l0)
    expected = last if cell == "lstm" else (last,)
    for found, part in zip(STEPS[cell](inputs, recurrent, state), expected, strict=True):
        torch.testing.assert_close(found, part[0])


@pytest.mark.parametrize("cell", CELLS)
def test_bahdanaus_equations_token_by_token(cell):
    """Of one layer, with torch's own cells, for each row alone and without its padding (appendix A.1.2 and A.2.2)."""
    ours, x, (memory, mask) = decoder(cell, "bahdanau", n_layers=1), torch.randn(2, 4, 6), source()
    states = ours(x, memory, mask, {})
    aligned = ours.aligned
    for row, length in enumerate(LENGTHS.tolist()):
        real = memory[row, :length]
        ends = torch.cat((real[-1, :4], real[0, 4:]))
        state = ours.first(ends).tanh().view(-1, 1, 1, 8).unbind(0)  # (directions, B, H) of h and of c
        for t in range(4):
            keys = aligned.alignment.key(real)
            scores = aligned.alignment.score((aligned.alignment.query(state[0][0, 0]) + keys).tanh()).squeeze(-1)
            context = scores.softmax(0) @ real
            read = torch.cat((x[row, t], context))[None, None]
            _, state = aligned.layer.cells(read, state if cell == "lstm" else state[0])
            state = state if cell == "lstm" else (state,)
            expected = ours.attentional(torch.cat((context, state[0][0, 0]))).tanh()
            torch.testing.assert_close(states[row, t], expected)


@pytest.mark.parametrize("cell", CELLS)
def test_luongs_equations_over_torchs_layers(cell):
    ours, x, (memory, mask) = decoder(cell, "luong", n_layers=1), torch.randn(2, 4, 6), source()
    states, aligned = ours(x, memory, mask, {}), ours.aligned
    for row, length in enumerate(LENGTHS.tolist()):
        real = memory[row, :length]
        first = ours.first(torch.cat((real[-1, :4], real[0, 4:]))).tanh().view(-1, 1, 1, 8).unbind(0)
        hidden, _ = aligned.stack.layers[0].cells(x[row : row + 1], first if cell == "lstm" else first[0])
        contexts = (hidden[0] @ aligned.alignment.key.weight @ real.T).softmax(-1) @ real
        expected = ours.attentional(torch.cat((contexts, hidden[0]), dim=-1)).tanh()
        torch.testing.assert_close(states[row], expected)


@pytest.mark.parametrize("alignment", ALIGNED)
def test_a_cache_keeps_rows_and_memories_apart_and_the_memories_once(alignment):
    ours, (memory, mask), cache = decoder("lstm", alignment), source(), {"alignment": None}
    ours(torch.randn(6, 3, 6), memory, mask, cache)
    of_memories = {name for name in cache if name.startswith("memory")}
    assert of_memories == {"memory_key"} and len(cache["memory_key"]) == 2
    assert {len(cache[name]) for name in cache.keys() - of_memories} == {6}
    kept = cache["memory_key"]
    ours(torch.randn(6, 1, 6), memory, mask, cache)
    assert cache["memory_key"] is kept and cache["alignment"].shape == (6, 1, 5)


@pytest.mark.parametrize("alignment", ALIGNED)
def test_half_precision_elsewhere_changes_little(alignment):
    ours, x, (memory, mask) = decoder("gru", alignment), torch.randn(2, 4, 6), source()
    whole = ours(x, memory, mask, {})
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(ours(x, memory, mask, {}).float(), whole, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("alignment", ALIGNED)
def test_dropped_weights_are_told_by_their_seed(alignment):
    ours, x, (memory, mask) = decoder("gru", alignment, weight_dropout=0.5).train(), torch.randn(2, 4, 6), source()
    layers = [part for part in ours.modules() if isinstance(part, RecurrentLayer)]
    said = []
    for seed in (1, 2, 1):
        for layer in layers:
            layer.seed = seed
        said.append(ours(x, memory, mask, {}))
    assert len(layers) == 2 and torch.equal(said[0], said[2]) and not torch.allclose(said[0], said[1])

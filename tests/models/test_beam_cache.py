"""The cache of a decoder with memories: beams can be chosen again, and sources leave it, whatever the family keeps."""

import pytest
import torch

from lmlab.models.rnn import Recurrent
from lmlab.models.transformer import Transformer

SIZES = {"architecture": "encoder-decoder", "n_layers": 2, "dropout": 0.0}
NGRAMS = {"ngram_orders": (2,), "ngram_rows": 64}
FAMILIES = {
    "transformer": lambda: Transformer(50, 16, max_length=12, n_heads=2, **SIZES, **NGRAMS),
    "shared keys": lambda: Transformer(50, 16, max_length=12, n_heads=4, n_kv_heads=2, positions="rotary", **SIZES),
    "luong": lambda: Recurrent(50, 16, cell="lstm", **SIZES, **NGRAMS),
    "bahdanau": lambda: Recurrent(50, 16, cell="lstm", alignment="bahdanau", **SIZES),
}


def chosen(cache, rows, sources):
    """What the contract of `Network.decode` lets a search do with a cache."""
    for name, value in cache.items():
        if isinstance(value, dict):
            chosen(value, rows, sources)
        elif isinstance(value, torch.Tensor):
            cache[name] = value.index_select(0, sources if str(name).startswith("memory") else rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_beams_are_chosen_and_sources_leave(family):
    network, source, target = FAMILIES[family]().eval(), torch.randint(5, 50, (3, 6)), torch.randint(5, 50, (6, 3))
    mask = torch.arange(6) < torch.tensor([[6], [4], [3]])
    memory, cache = network.encode(source, mask), {"alignment": None}
    network.decode(target, memory, mask, cache)
    rows, sources = torch.tensor([1, 1, 5, 4]), torch.tensor([0, 2])
    chosen(cache, rows, sources)
    memory, mask, target = memory[sources], mask[sources], target[rows]
    more = torch.randint(5, 50, (4, 2))
    states = network.decode(more, memory, mask, cache)
    whole = network.decode(torch.cat((target, more), dim=1), memory, mask)
    torch.testing.assert_close(states, whole[:, 3:], atol=1e-5, rtol=1e-5)
    assert cache["alignment"].shape == (4, 2, 6)

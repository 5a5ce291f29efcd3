"""Attention: heads that share keys and values."""

import torch

from lmlab.nn.attention import SelfAttention


def test_shared_keys_and_values_are_those_of_heads_that_hold_the_same():
    shared, whole = SelfAttention(24, 4, n_kv_heads=2), SelfAttention(24, 4)
    query, key, value = (part.unflatten(0, (-1, 6)) for part in shared.qkv.weight.data.split((24, 12, 12)))
    repeated = [query, key.repeat_interleave(2, dim=0), value.repeat_interleave(2, dim=0)]
    whole.qkv.weight.data = torch.cat(repeated).flatten(0, 1)
    bias = shared.qkv.bias.data.unflatten(0, (-1, 6))
    whole.qkv.bias.data = torch.cat([bias[:4], *(bias[[at, at, at + 1, at + 1]] for at in (4, 6))]).flatten()
    whole.output.load_state_dict(shared.output.state_dict())
    x = torch.randn(2, 7, 24)
    torch.testing.assert_close(shared(x, causal=True), whole(x, causal=True))
    cache: dict = {}
    shared(x, causal=True, cache=cache)
    assert cache["key"].shape[1] == 2

"""Attention: heads that share keys and values, rows that share a memory."""

import pytest
import torch

from lmlab.nn.attention import CrossAttention, SelfAttention, key_mask


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


def mask_of(memory):
    """Of all but the last three places of the second memory."""
    mask = torch.ones(memory.shape[:2], dtype=torch.bool)
    mask[1, -3:] = False
    return mask


@pytest.mark.parametrize("length", [1, 4])
def test_rows_that_share_a_memory_see_what_they_would_in_one_of_their_own(length):
    attention, memory, x = CrossAttention(24, 4), torch.randn(2, 7, 24), torch.randn(6, length, 24)
    mask = key_mask(mask_of(memory))
    own = attention(x, memory.repeat_interleave(3, dim=0), mask.repeat_interleave(3, dim=0))
    torch.testing.assert_close(attention(x, memory, mask), own)


def test_a_cache_keeps_what_is_made_of_a_memory_and_tells_the_weights_when_asked():
    attention, memory, x = CrossAttention(24, 4), torch.randn(2, 7, 24), torch.randn(4, 3, 24)
    mask, cache = key_mask(mask_of(memory)), {}
    expected = attention(x, memory, mask, cache)
    assert set(cache) == {"memory_key", "memory_value"} and cache["memory_key"].shape == (2, 4, 7, 6)
    cache["alignment"] = None
    torch.testing.assert_close(attention(x, torch.zeros_like(memory), mask, cache), expected)
    weights = cache["alignment"]
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 3))
    assert (weights[2:, :, 4:] == 0).all() and (weights[:2] > 0).all()

"""Recurrent networks from text to text: what any decoder with a memory has to keep, for each cell and attention."""

import pytest
import torch

from lmlab.models.rnn import Recurrent

VOCAB = 50
PAIRS = [(cell, alignment) for cell in ("rnn", "lstm", "gru") for alignment in ("luong", "bahdanau")]
every = pytest.mark.parametrize(("cell", "alignment"), PAIRS)


def tiny(cell="lstm", alignment="luong", **changes):
    sizes = {"d_model": 16, "n_layers": 2, "dropout": 0.0}
    network = Recurrent(
        VOCAB, architecture="encoder-decoder", cell=cell, alignment=alignment, **(sizes | changes)
    ).eval()
    if network.ngrams is not None:
        network.ngrams.learn([texts(40, 20)], min_count=1)
    return network


def texts(batch=3, length=10):
    return torch.randint(5, VOCAB, (batch, length))


def padded(rows=3):
    """Texts of which the second is shorter, and their mask."""
    source = texts(rows)
    mask = torch.ones_like(source, dtype=torch.bool)
    mask[1, 7:] = False
    return source, mask


@every
def test_padding_of_the_source_changes_nothing(cell, alignment):
    network, (source, mask), target = tiny(cell, alignment), padded(), texts(length=6)
    longer = torch.cat((source, torch.zeros(3, 4, dtype=torch.int64)), dim=1)
    longer[1, 7:] = 9
    longer_mask = torch.cat((mask, torch.zeros(3, 4, dtype=torch.bool)), dim=1)
    states = network.decode(target, network.encode(source, mask), mask)
    torch.testing.assert_close(network.decode(target, network.encode(longer, longer_mask), longer_mask), states)
    assert network.logits(states).shape == (3, 6, VOCAB)


@pytest.mark.parametrize("variant", [{}, {"bidirectional": False}, {"d_embedding": 6}, {"n_layers": 1}])
def test_a_short_source_is_read_as_if_it_stood_alone(variant):
    network, (source, mask), target = tiny(**variant), padded(), texts(length=6)
    states = network.decode(target, network.encode(source, mask), mask)
    alone = network.encode(source[1:2, :7], mask[1:2, :7])
    torch.testing.assert_close(network.decode(target[1:2], alone), states[1:2])


@every
def test_a_state_sees_all_of_the_source_and_of_the_target_only_the_past(cell, alignment):
    network, (source, mask), target = tiny(cell, alignment), padded(), texts(length=8)
    changed = target.clone()
    changed[:, 5] = (changed[:, 5] - 5 + 1) % (VOCAB - 5) + 5
    memory = network.encode(source, mask)
    before, after = network.decode(target, memory, mask), network.decode(changed, memory, mask)
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])
    source[:, 6] = (source[:, 6] - 5 + 1) % (VOCAB - 5) + 5
    assert not torch.allclose(network.decode(target, network.encode(source, mask), mask)[:, 0], before[:, 0])


@every
@pytest.mark.parametrize("variant", [{}, {"d_embedding": 6, "ngram_orders": (2, 3), "ngram_rows": 64}])
def test_a_cached_decoder_equals_one_that_reads_all_again(cell, alignment, variant):
    network, (source, mask), target, cache = tiny(cell, alignment, **variant), padded(), texts(length=8), {}
    memory = network.encode(source, mask)
    parts = [network.decode(part, memory, mask, cache) for part in target.tensor_split((3, 4, 5, 7), dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), network.decode(target, memory, mask))


@every
def test_beams_that_share_a_memory_write_what_they_would_from_copies_of_it(cell, alignment):
    network, (source, mask), target, cache = tiny(cell, alignment), padded(), texts(12, 5), {}
    memory = network.encode(source, mask)
    copies = network.decode(target, memory.repeat_interleave(4, dim=0), mask.repeat_interleave(4, dim=0))
    parts = [network.decode(part, memory, mask, cache) for part in target.tensor_split((2, 3), dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), copies)


@every
def test_it_tells_where_each_token_looks(cell, alignment):
    network, (source, mask), target = tiny(cell, alignment), padded(), texts(6, 5)
    memory, cache = network.encode(source, mask), {"alignment": None}
    states = network.decode(target, memory, mask, cache)
    torch.testing.assert_close(states, network.decode(target, memory, mask))
    weights = cache["alignment"]
    torch.testing.assert_close(weights.sum(-1), torch.ones(6, 5))
    assert network.alignments and (weights[2:4, :, 7:] == 0).all() and (weights[4:] > 0).all()


@every
def test_gradients_flow_and_one_batch_can_be_overfitted(cell, alignment):
    network, source, target = tiny(cell, alignment, separate_embeddings=True).train(), texts(4, 6), texts(4, 7)
    target[:, 0] = 2  # what is to be written is told by the source alone
    optimizer, mask = torch.optim.Adam(network.parameters(), lr=2e-2), torch.ones_like(source, dtype=torch.bool)
    for _ in range(60):
        optimizer.zero_grad()
        states = network.decode(target[:, :-1], network.encode(source, mask), mask)
        loss = network.losses(states.flatten(0, 1), target[:, 1:].flatten()).mean()
        loss.backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    assert loss < 0.5


def test_no_part_is_built_in_vain():
    network, (source, mask), target = tiny(), padded(), texts()
    network.losses(
        network.decode(target, network.encode(source, mask), mask).flatten(0, 1), target.flatten()
    ).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert network.output.weight is network.embedding.weight and network.source_embedding is None


def test_a_decoder_of_memories_cannot_do_without():
    with pytest.raises(NotImplementedError, match="Recurrent"):
        tiny().decode(texts())

"""What is computed once is computed once, caches follow their beams, limits hold, draws are those of a seed."""

import pytest
import torch

from lmlab.decoding import Decoding, reorder
from lmlab.errors import ConfigError
from lmlab.models.gpt2 import GPT2
from lmlab.models.transformer import Transformer

STOP, VOCABULARY = 3, 20
IDS = {"first": STOP, "stop": STOP, "vocabulary": VOCABULARY, "never": (0, 1, 2, 4)}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(2)
    made = Transformer(VOCABULARY, 16, architecture="encoder-decoder", max_length=16, n_heads=2).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(6)  # sure of itself
    return made


@pytest.fixture(scope="module")
def sources():
    mask = torch.arange(6) < torch.tensor([6, 2, 4, 3])[:, None]
    return torch.randint(5, VOCABULARY, (4, 6), generator=torch.Generator().manual_seed(1)) * mask, mask


class Counted(Transformer):
    n_encoded = 0

    def encode(self, tokens, mask, segments=None):
        Counted.n_encoded += 1
        return super().encode(tokens, mask, segments)


def texts(found):
    return [[text.tokens for text in some] for some in found]


def test_a_source_is_encoded_once(sources):
    network = Counted(VOCABULARY, 16, architecture="encoder-decoder", max_length=16, n_heads=2).eval()
    Counted.n_encoded = 0
    Decoding(beams=3).answers(network, *sources, **IDS)
    assert Counted.n_encoded == 1


@pytest.mark.parametrize("beams", [1, 3])
def test_with_a_cache_as_without(network, sources, beams):
    class Forgetful(torch.nn.Module):
        """Reads all that a row has written anew; what it has read is its whole cache."""

        alignments, context = False, 16
        encode, logits = network.encode, network.logits

        def decode(self, tokens, memory, memory_mask, cache):
            cache["rows"] = torch.cat((cache["rows"], tokens), 1) if "rows" in cache else tokens
            copies = len(tokens) // len(memory)
            memory, mask = memory.repeat_interleave(copies, 0), memory_mask.repeat_interleave(copies, 0)
            return network.decode(cache["rows"], memory, mask)

    found = Decoding(beams=beams, n_best=beams).answers(network, *sources, **IDS)
    assert texts(found) == texts(Decoding(beams=beams, n_best=beams).answers(Forgetful(), *sources, **IDS))
    assert len({len(text) for some in texts(found) for text in some}) > 1


def test_limits_and_what_may_not_be_written(network, sources):
    decoding = Decoding(beams=2, min_length=3, max_length=5, length_ratio=None)
    (*found,) = (text for some in texts(decoding.answers(network, *sources, **IDS)) for text in some)
    assert all(3 <= len(text) <= 5 and not {0, 1, 2, 3, 4} & {*text} for text in found)
    lengths = torch.tensor([2, 9])
    assert Decoding(max_length=20, length_ratio=1.5).limits(lengths).tolist() == [13, 20]
    longest = Decoding(beams=2, min_length=99, max_length=99, length_ratio=None)
    assert {len(some[0].tokens) for some in longest.answers(network, *sources, **IDS)} == {16}  # all it can read


def test_a_decoder_alone_goes_on_from_sources_of_any_length(sources):
    torch.manual_seed(4)
    network = GPT2(VOCABULARY, 16, max_length=16, n_heads=2, n_layers=1).eval()
    found = Decoding(beams=2, n_best=2).answers(network, *sources, alone=True, **IDS)
    for row, (tokens, mask) in enumerate(zip(*sources, strict=True)):
        alone = Decoding(beams=2, n_best=2).answers(network, tokens[None, mask], mask[None, mask], alone=True, **IDS)
        assert texts(alone)[0] == texts(found)[row]
        score, best = found[row][0].score, found[row][0].tokens
        written = torch.tensor([[*tokens[mask].tolist(), STOP, *best]])
        logs = network.logits(network.decode(written))[0, mask.sum() :].log_softmax(-1)
        ids = torch.tensor([*best, STOP])[: len(logs)]
        limit = min(int(mask.sum()) * 2 + 10, 16 - int(mask.sum()))
        ids = ids[:limit]
        assert logs.gather(1, ids[:, None])[: len(ids)].mean().item() == pytest.approx(score, abs=1e-4)


def test_draws_are_those_of_their_seed_and_n_of_each_source(network, sources):
    drawn = Decoding(n_best=3, beams=1, temperature=1.0, top_p=0.9, max_length=6)

    def answers(seed):
        return drawn.answers(network, *sources, **IDS, generator=torch.Generator().manual_seed(seed))

    assert texts(answers(1)) == texts(answers(1)) != texts(answers(2))
    assert [len(some) for some in answers(1)] == [3] * 4
    assert all(text.score < 0 and not {0, 1, 2, 3, 4} & {*text.tokens} for some in answers(1) for text in some)


def test_a_cache_follows_its_rows_and_sources():
    cache = {"length": 3, "key": torch.arange(4), 0: {"memory_key": torch.arange(2), "value": torch.arange(4) * 10}}
    reorder(cache, torch.tensor([3, 3]), torch.tensor([1]))
    assert cache["length"] == 3 and cache["key"].tolist() == [3, 3]
    assert cache[0]["memory_key"].tolist() == [1] and cache[0]["value"].tolist() == [30, 30]


def test_as_many_rows_change_places_where_they_lie():
    keys = torch.arange(4.0)[:, None, None, None].expand(4, 2, 5, 3).clone()
    cache = {"length": 2, "key": keys}
    reorder(cache, torch.tensor([1, 1, 0, 3]), None)
    assert cache["key"] is keys and keys[:, 0, 1, 0].tolist() == [1, 1, 0, 3]
    assert keys[:, 0, 2, 0].tolist() == [0, 1, 2, 3]  # what is not written yet


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"beams": 2, "n_best": 3}, "the 3 best of 2 beams"),
        ({"temperature": 1.0, "no_repeat_ngram": 2}, "are of beam search"),
    ],
)
def test_options_that_do_not_go_together(options, told):
    with pytest.raises(ConfigError, match=told):
        Decoding(**options)


def test_coverage_of_a_network_that_tells_none(sources):
    network = GPT2(VOCABULARY, 16, max_length=32, n_heads=2, n_layers=1).eval()
    with pytest.raises(ConfigError, match="GPT2 does not tell where"):
        Decoding(coverage_penalty=0.2).answers(network, *sources, alone=True, **IDS)

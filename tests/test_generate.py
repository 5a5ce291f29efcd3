"""What a network writes: the same as without a cache, beside any other prompts, and inside the filters."""

import pytest
import torch

from lmlab.generate import continuations, generate, window_start
from lmlab.lookup import Lookup
from lmlab.models.gpt2 import GPT2
from lmlab.models.transformer import Transformer
from lmlab.nn.network import Network
from lmlab.sampling import allowed, keep_min_p, keep_top_k, keep_top_p, penalized

VOCAB, LEARNED = 40, 36
INF = torch.inf
SIZES = {"d_model": 16, "n_heads": 2, "n_layers": 2, "d_ff": 32, "max_length": 64, "dropout": 0.0}
VARIANTS = [{"positions": "learned"}, {"positions": "rotary"}, {"ngram_orders": (2, 3), "ngram_rows": 64}]


def tiny(**changes):
    network = Transformer(VOCAB, architecture="decoder", **(SIZES | changes)).eval()
    for parameter in network.parameters():
        parameter.data *= 8  # else all tokens are as likely
    if network.ngrams is not None:
        network.ngrams.learn([torch.randint(5, VOCAB, (40, 20))], min_count=1)
    return network


def greedy(network, prompts, **options):
    options = {"vocabulary": LEARNED, "max_new_tokens": 20, "temperature": 0, "stop": ()} | options
    return continuations(network, prompts, **options)


class Chain(Network):
    """After token t comes t + 1, most likely; after the last one [SEP]."""

    def decode(self, tokens, memory=None, memory_mask=None, cache=None):
        return tokens[..., None].float()

    def logits(self, states):
        following = (states.long() + 1) % LEARNED
        return torch.where(torch.arange(VOCAB) == torch.where(following == 0, 3, following), 2.0, 0.0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_greedy_is_the_argmax_of_the_whole_text_read_again(variant):
    network, text = tiny(**variant), [3, 7, 9]
    (written,) = greedy(network, [text])
    for token in written:
        logits = network.logits(network.decode(torch.tensor([text])))[0, -1]
        logits[[0, 1, 2, 4]] = -INF
        assert token == int(logits[:LEARNED].argmax())
        text = [*text, token]
    assert len(set(written)) > 3


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("context", [64, 10])
def test_ragged_prompts_are_continued_as_each_alone(variant, context):
    network = tiny(**variant, max_length=context)
    prompts = [torch.randint(5, LEARNED, (length,)).tolist() for length in (4, 1, 13, 9)]
    assert greedy(network, prompts) == [greedy(network, [prompt])[0] for prompt in prompts]


def test_a_text_that_outgrows_its_context_is_read_again_from_half_of_it():
    assert [window_start(length, 4) for length in range(1, 13)] == [0, 0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9]
    assert window_start(1000, None) == 0
    network = tiny(max_length=8)
    (written,) = greedy(network, [[3, 7]], max_new_tokens=30)
    text = [3, 7, *written]
    for length in range(2, 32):
        start = window_start(length, 8)
        assert length - start <= 8
        logits = allowed(network.logits(network.decode(torch.tensor([text[start:length]])))[:, -1], LEARNED)
        assert text[length] == int(logits.argmax())


@pytest.mark.parametrize(
    ("tokens", "guess"),
    [
        ([5, 6, 7, 8, 5, 6], [7, 8, 5, 6, 7]),  # what followed, and round again
        ([5, 6, 7, 9, 6, 8, 5, 6], [7, 9, 6, 8, 5]),  # the longer run decides, not the later one
        ([5, 6, 5, 7, 5], [7, 5, 7, 5, 7]),  # of equal runs the last
        ([5, 5], [5, 5, 5, 5, 5]),
        ([5, 6, 7], []),
        ([5], []),
    ],
)
def test_a_text_is_guessed_to_go_on_as_it_did_before(tokens, guess):
    assert Lookup(tokens).guess(5) == guess
    assert Lookup(tokens).guess(0) == []


@pytest.mark.parametrize("family", [{"positions": "learned"}, {"positions": "rotary"}, "gpt2"])
@pytest.mark.parametrize("context", [64, 12])
def test_guessing_ahead_writes_the_same_text_in_fewer_passes(family, context, monkeypatch):
    network = GPT2(VOCAB, 16, max_length=context, n_heads=2, n_layers=2).eval()
    if family != "gpt2":
        network = tiny(max_length=context, **family)
    passes = []
    decode = network.decode
    monkeypatch.setattr(network, "decode", lambda *tokens, **named: (passes.append(1), decode(*tokens, **named))[1])
    count = {}
    for prompt in ([3], [3, 7, 9, 7, 9, 7], torch.randint(5, LEARNED, (30,)).tolist()):
        for stop in ((), (greedy(network, [prompt], lookup=0)[0][7],)):
            for lookup in (0, 1, 4, 16):
                passes.clear()
                written = list(generate(network, [prompt], vocabulary=LEARNED, max_new_tokens=33, temperature=0,
                                        stop=stop, lookup=lookup))  # fmt: skip
                count.setdefault(lookup, []).append(len(passes))
                if not lookup:
                    expected = written
                assert written == expected
    assert sum(count[16]) <= sum(count[1]) < sum(count[0])


def test_a_token_of_stop_ends_a_text_and_is_not_told():
    assert greedy(Chain(), [[30], [33, 34], [8]], stop=(3,), max_new_tokens=6) == [
        [31, 32, 33, 34, 35],
        [35],
        [9, 10, 11, 12, 13, 14],
    ]
    assert greedy(Chain(), [[30]], max_new_tokens=0) == [[]]
    steps = list(generate(Chain(), [[8], [20, 21, 22]], vocabulary=LEARNED, max_new_tokens=2, temperature=0))
    assert steps == [[9, None], [10, None], [None, 23], [None, 24]]


def test_ids_that_are_no_text_are_never_written():
    kept = allowed(torch.zeros(1, VOCAB), LEARNED)[0]
    assert (kept == 0).nonzero().flatten().tolist() == [3, *range(5, LEARNED)]
    written = greedy(tiny(), [[3]] * 8, temperature=50.0, max_new_tokens=50, generator=torch.Generator())
    assert {token for text in written for token in text} <= {3, *range(5, LEARNED)}


LOGITS = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.25, 0.25, 0.25, 0.25]]).log()


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (keep_top_k(LOGITS, 2), [[1, 1, 0, 0], [1, 1, 1, 1]]),
        (keep_top_k(LOGITS, 9), [[1, 1, 1, 1], [1, 1, 1, 1]]),
        (keep_top_p(LOGITS, 0.7), [[1, 1, 0, 0], [1, 1, 1, 0]]),
        (keep_top_p(LOGITS, 0.0), [[1, 0, 0, 0], [1, 0, 0, 0]]),
        (keep_top_p(LOGITS, 1.0), [[1, 1, 1, 1], [1, 1, 1, 1]]),
        (keep_min_p(LOGITS, 0.25), [[1, 1, 1, 0], [1, 1, 1, 1]]),
        (keep_min_p(LOGITS, 1.0), [[1, 0, 0, 0], [1, 1, 1, 1]]),
    ],
)
def test_filters_keep_what_their_papers_say(kept, expected):
    assert kept.isfinite().int().tolist() == expected
    assert torch.equal(kept[kept.isfinite()], LOGITS[kept.isfinite()])


def test_repetition_is_penalized_on_both_sides_of_zero():
    seen = torch.tensor([[True, True, False]])
    assert penalized(torch.tensor([[2.0, -2.0, 2.0]]), seen, 2.0).tolist() == [[1.0, -4.0, 2.0]]
    assert greedy(Chain(), [[8, 10, 9]], max_new_tokens=1, repetition_penalty=1.5) == [[10]]

    class Twice(Chain):
        def logits(self, states):
            return super().logits(states) + torch.where(torch.arange(VOCAB) == 20, 1.5, 0.0)

    assert greedy(Twice(), [[8, 10, 9]], max_new_tokens=1, repetition_penalty=1.5) == [[20]]


def test_drawn_texts_follow_the_seed_and_the_probabilities():
    def draw(seed, **options):
        options |= {"generator": torch.Generator().manual_seed(seed), "temperature": 1.0}
        return greedy(network, [[3, 8]], n=3, **options)

    network = tiny()
    assert draw(1) == draw(1) != draw(2)
    assert len({tuple(text) for text in draw(1)}) == 3
    assert draw(1, top_k=1) == greedy(network, [[3, 8]] * 3)
    drawn = continuations(
        Chain(), [[9]], vocabulary=LEARNED, max_new_tokens=1, n=4000, generator=torch.Generator().manual_seed(0)
    )
    share = sum(text == [10] for text in drawn) / 4000
    others = LEARNED - 4 - 1  # with [SEP]
    assert share == pytest.approx(2.718281828**2 / (2.718281828**2 + others), abs=0.02)


def test_an_empty_prompt_is_refused():
    with pytest.raises(ValueError, match="begins a text"):
        greedy(tiny(), [[3], []])

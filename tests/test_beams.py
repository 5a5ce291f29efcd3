"""Beam search equals transformers' token for token, whatever the options; no source knows of those beside it."""

import itertools

import pytest
import torch

from lmlab.beams import Beams, beam_search, highest, repeating
from lmlab.nn.network import Network

transformers = pytest.importorskip("transformers")
START, STOP, PAD, VOCABULARY = 0, 1, 2, 23


class Marian(Network):
    """Transformers' own model behind our methods, read anew at each step."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def encode(self, tokens, mask, segments=None):
        return self.model.get_encoder()(input_ids=tokens, attention_mask=mask.long()).last_hidden_state

    def write(self, tokens, memory, mask):
        copies = len(tokens) // len(memory)
        return self.model(
            decoder_input_ids=tokens,
            encoder_outputs=(memory.repeat_interleave(copies, 0),),
            attention_mask=mask.long().repeat_interleave(copies, 0),
        ).logits


class Rereader:
    """Reads all that each row has written at every step: nothing but the search can go wrong."""

    def __init__(self, network, tokens, mask):
        self.network, self.mask, self.memory = network, mask, network.encode(tokens, mask)
        self.rows = None

    def step(self, tokens):
        self.rows = tokens if self.rows is None else torch.cat((self.rows, tokens), 1)
        return self.network.write(self.rows, self.memory, self.mask)[:, -1]

    def keep(self, rows, sources):
        self.rows, self.memory, self.mask = self.rows[rows], self.memory[sources], self.mask[sources]

    def attention(self):
        return None


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    config = transformers.MarianConfig(
        vocab_size=VOCABULARY,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        init_std=0.6,  # sure of itself, and of different things
        decoder_start_token_id=START,
        eos_token_id=STOP,
        pad_token_id=PAD,
        forced_eos_token_id=None,
        max_position_embeddings=32,
    )
    model = transformers.MarianMTModel(config).eval()
    model.final_logits_bias[0, STOP] = 5.0
    return Marian(model)


@pytest.fixture(scope="module")
def sources():
    torch.manual_seed(5)
    lengths = torch.tensor([7, 3, 5, 2, 7, 4])
    mask = torch.arange(7) < lengths[:, None]
    return torch.randint(3, VOCABULARY, (6, 7)).masked_fill(~mask, PAD), mask


def searched(network, tokens, mask, beams, most, **options):
    limits = torch.full((len(tokens),), most)
    writer = Rereader(network, tokens, mask)
    return beam_search(writer, limits, beams=beams, first=START, stop=STOP, vocabulary=VOCABULARY, **options)


def theirs(network, tokens, mask, beams, most, *, early_stopping="best", min_length=0, no_repeat_ngram=0, **options):
    if min_length:
        options["min_new_tokens"] = min_length
    made = network.model.generate(
        input_ids=tokens,
        attention_mask=mask.long(),
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=most,
        do_sample=False,
        early_stopping={"best": False, "full": True, "never": "never"}[early_stopping],
        no_repeat_ngram_size=no_repeat_ngram,
        return_dict_in_generate=True,
        output_scores=True,
        suppress_tokens=options.pop("never", None),
        **options,
    )
    rows = [row[1:] for row in made.sequences.tolist()]
    texts = [row[: row.index(STOP)] if STOP in row else row for row in rows]
    texts = [[token for token in text if token != PAD] if len(text) < most else text for text in texts]
    told = list(zip(texts, made.sequences_scores.tolist(), strict=True))
    return [told[n : n + beams] for n in range(0, len(told), beams)]


OPTIONS = [
    {},
    {"length_penalty": 0.0},
    {"length_penalty": 2.0},
    {"length_penalty": -1.0},
    {"early_stopping": "full"},
    {"early_stopping": "never"},
    {"early_stopping": "never", "length_penalty": 0.0},
    {"min_length": 4},
    {"no_repeat_ngram": 1},
    {"no_repeat_ngram": 2, "length_penalty": 0.6},
    {"never": [4, 5, 6]},
]


@pytest.mark.parametrize("beams", [2, 4])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.filterwarnings("ignore")
def test_equal_to_transformers(network, sources, beams, options):
    ours = searched(network, *sources, beams, 10, **options)
    expected = theirs(network, *sources, beams, 10, **options)
    told = {len(text.tokens) for some in ours for text in some}
    assert len(told) > 2  # texts end at many places
    for mine, other in zip(ours, expected, strict=True):
        assert [text.tokens for text in mine] == [text for text, _ in other]
        torch.testing.assert_close([text.score for text in mine], [score for _, score in other], rtol=1e-4, atol=1e-4)


def test_one_beam_takes_the_likeliest_token(network, sources):
    made = network.model.generate(
        input_ids=sources[0], attention_mask=sources[1].long(), num_beams=1, max_new_tokens=10, do_sample=False
    )
    rows = [row[1:] for row in made.tolist()]
    expected = [row[: row.index(STOP)] if STOP in row else row for row in rows]
    assert [some[0].tokens for some in searched(network, *sources, 1, 10)] == expected


def test_a_source_knows_nothing_of_those_beside_it(network, sources):
    together = searched(network, *sources, 3, 10)
    for row, (tokens, mask) in enumerate(zip(*sources, strict=True)):
        alone = searched(network, tokens[None, mask], mask[None, mask], 3, 10)[0]
        assert [text.tokens for text in alone] == [text.tokens for text in together[row]]


def test_each_source_has_a_limit_of_its_own(network, sources):
    limits = torch.tensor([1, 2, 3, 4, 5, 6])
    options = {"beams": 2, "first": START, "stop": STOP, "vocabulary": VOCABULARY, "min_length": 9}
    found = beam_search(Rereader(network, *sources), limits, **options)
    assert [len(some[0].tokens) for some in found] == limits.tolist()


def test_the_wide_beam_finds_what_trying_all_texts_finds(network, sources):
    """With as many beams as there are texts nothing is pruned: the best of all short texts must come out."""
    tokens, mask = (part[1:2] for part in sources)
    memory = network.encode(tokens, mask)
    words = [token for token in range(8) if token not in (START, STOP)]
    best, expected = -torch.inf, None
    with torch.no_grad():
        for size in range(3):
            for text in itertools.product(words, repeat=size):
                row = torch.tensor([[START, *text, STOP]])
                logs = network.write(row[:, :-1], memory, mask).log_softmax(-1)
                score = logs.gather(2, row[:, 1:, None]).sum().item() / (size + 1)
                best, expected = max((best, expected), (score, list(text)), key=lambda pair: pair[0])
    options = {"first": START, "stop": STOP, "vocabulary": 8, "never": [START], "early_stopping": "never"}
    found = beam_search(Rereader(network, tokens, mask), torch.tensor([3]), beams=60, **options)[0]
    ended = next(text for text in found if len(text.tokens) < 3)
    assert ended.tokens == expected and abs(ended.score - best) < 1e-4


@pytest.mark.parametrize("width", [7, 50, 1000, 8191])
def test_the_highest_are_those_of_topk(width):
    logits = torch.randn(5, width)
    for k in (1, 4, 7):
        best, ids = highest(logits, k)
        expected = logits.topk(k, dim=1)
        assert torch.equal(best, expected.values) and torch.equal(ids, expected.indices)


def test_what_would_repeat():
    rows = torch.tensor([[0, 5, 6, 5], [0, 5, 5, 5], [0, 1, 2, 3]])
    assert [row.nonzero().flatten().tolist() for row in repeating(rows, 2, 8)] == [[6], [5], []]
    assert [row.nonzero().flatten().tolist() for row in repeating(rows, 1, 8)] == [[0, 5, 6], [0, 5], [0, 1, 2, 3]]


def test_coverage_is_added_to_the_score():
    """Wu et al., 2016, equation 14: cp = beta * sum over the source of log(min(attention so far, 1))."""
    options = {"first": START, "stop": STOP, "length_penalty": 1.0, "early_stopping": "best"}
    state = Beams(torch.tensor([5]), 2, coverage_penalty=0.5, **options)
    first, second = torch.tensor([[0.5, 0.5, 0.0]] * 2), torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    logits = torch.full((2, 6), -9.0)
    logits[:, 4], logits[:, 5] = 2.0, 1.0
    state.advance(logits, logits.logsumexp(1, keepdim=True), first)
    logits = torch.full((2, 6), -9.0)
    logits[:, STOP] = 3.0
    before = state.scores[0].tolist()
    total = logits.logsumexp(1, keepdim=True)
    state.advance(logits, total, second)
    step = (3.0 - total[0, 0]).item()
    cover = [0.5 * torch.tensor(seen).clamp(max=1).log().sum().item() for seen in ([1.4, 0.6], [0.7, 1.3])]
    expected = sorted(((score + step) / 2 + more for score, more in zip(before, cover, strict=True)), reverse=True)
    torch.testing.assert_close([text.score for text in state.done[0]], expected, rtol=1e-4, atol=1e-4)

"""What is masked: the right share, of text alone, whole words, another share each epoch and the same when evaluated."""

import math

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer as Pipeline
from tokenizers.models import WordPiece

from lmlab.errors import ConfigError
from lmlab.models.bert import Bert
from lmlab.nn.noise import noise_of
from lmlab.tasks.masked_lm import MaskedLM
from lmlab.tokenizer import SPECIALS, Tokenizer

N = 60


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    words = [f"w{n}" for n in range(30)] + [f"##p{n}" for n in range(N - 30 - len(SPECIALS))]
    vocabulary = {word: number for number, word in enumerate((*SPECIALS, *words))}
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    Pipeline(WordPiece(vocabulary, unk_token="[UNK]")).save(str(path))
    return Tokenizer("wordpiece", N, path=path)


def task(tokenizer, **options):
    made = MaskedLM(**options)
    made.tokenizer = tokenizer
    return made


def batch(rows=200, length=50):
    tokens = torch.randint(5, N, (rows, length))
    mask = torch.ones_like(tokens, dtype=torch.bool)
    tokens[:, 0], tokens[:, 20] = Tokenizer.sep_id, Tokenizer.unk_id
    tokens[::2, 40:], mask[::2, 40:] = Tokenizer.pad_id, False
    return {"tokens": tokens, "mask": mask, "rows": torch.arange(rows)}


def test_a_share_is_asked_for_of_which_most_are_masked_and_some_replaced(tokenizer):
    given = batch()
    read, asked = task(tokenizer).corrupted(given)
    text = given["mask"] & (given["tokens"] > 4)
    assert not asked[~text].any() and torch.equal(read[~asked], given["tokens"][~asked])
    n = int(asked.sum())
    assert n / int(text.sum()) == pytest.approx(0.15, abs=0.01)
    assert int((read[asked] == 4).sum()) / n == pytest.approx(0.8, abs=0.03)
    others = read[asked][read[asked] != 4]
    assert others.min() > 4
    changed = int((read[asked] != given["tokens"][asked]).sum()) / n
    assert changed == pytest.approx(0.8 + 0.1 * (1 - 1 / 55), abs=0.03)


def test_all_pieces_of_a_word_are_asked_for_or_none(tokenizer):
    given = batch()
    _, asked = task(tokenizer, whole_words=True).corrupted(given)
    inside = (given["tokens"] >= 35) & given["mask"]  # goes on with the piece before
    inside[:, [0, 1, 21]] = False  # of which there is none
    before = asked.roll(1, dims=1)
    assert torch.equal(asked[inside], before[inside]) and 0.1 < asked.float().mean() < 0.2


def test_an_epoch_masks_other_places_and_an_evaluation_the_same_beside_anything(tokenizer):
    given, made = batch(8), task(tokenizer)

    def places(seed, rows):
        part = {name: tensor[rows] for name, tensor in given.items()}
        with noise_of((made,), seed, part["rows"]):
            return made.corrupted(part)[1]

    whole = places(1, slice(0, 8))
    assert torch.equal(whole[4:], places(1, slice(4, 8))) and not torch.equal(whole, places(2, slice(0, 8)))


def test_the_score_is_the_mean_over_all_that_is_asked_for(tokenizer):
    network = Bert(N, 16, n_heads=2, n_layers=1, d_ff=32, masked_head=True).eval()
    made, given = task(tokenizer), batch(12)
    for rows in (slice(0, 5), slice(5, 12)):
        made.score(network, {name: tensor[rows] for name, tensor in given.items()}, "val")
    results = made.results("val")
    with noise_of((made,), 1, given["rows"]):
        read, asked = made.corrupted(given)
    logits = network.logits(network.encode(read, given["mask"]))[asked]
    expected = F.cross_entropy(logits, given["tokens"][asked]).item()
    assert results["loss"] == pytest.approx(expected, abs=1e-5)
    assert results["perplexity"] == pytest.approx(math.exp(expected), rel=1e-4)
    assert results["accuracy"] == pytest.approx((logits.argmax(-1) == given["tokens"][asked]).float().mean().item())
    assert results["tokens"] == int(asked.sum())


def test_what_cannot_be_is_told(tokenizer):
    with pytest.raises(ConfigError, match="are more than 1 together"):
        MaskedLM(masked=0.8, replaced=0.3)

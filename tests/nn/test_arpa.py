"""ARPA files: read back as they were, and read by KenLM to the same probabilities."""

import math

import numpy as np
import pytest
import torch
from test_ngram_counts import BEGIN, END, counted, random_documents

from lmlab.errors import DataError
from lmlab.nn.arpa import arpa_words, read_arpa, write_arpa
from lmlab.nn.ngram_table import NgramTable
from lmlab.nn.smoothing import FALLBACK, add_k, maximum_likelihood, modified_kneser_ney

UNKNOWN, SIZE = 1, 20
NAMES = {"begin": BEGIN, "end": END, "unknown": UNKNOWN}
AWKWARD = [" ", "\n", "\\", "\\u0020", "<s>", "</s>", "<unk>", "", "\\u", "\\<s>", "\xa0", "\x00", "ü\t好", "1-grams:"]
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *AWKWARD, "plain"]


def model(estimate, order):
    counts = counted(random_documents(SIZE, number=50, seed=order), order)
    predicted = counts.vocabulary(UNKNOWN)
    predicted[5:] = True
    return NgramTable(SIZE, order).fill(estimate(counts, predicted))


def kneser_ney(counts, predicted):
    return modified_kneser_ney(counts, predicted, fallback=FALLBACK)


ESTIMATORS = [kneser_ney, lambda counts, _: maximum_likelihood(counts), lambda *given: add_k(*given, k=0.3)]


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_what_was_written_is_read(estimate, order, tmp_path):
    table = model(estimate, order)
    write_arpa(tmp_path / "a.arpa", table, TOKENS, **NAMES)
    read = read_arpa(tmp_path / "a.arpa", TOKENS, **NAMES)
    assert read.order == order
    for (name, ours), theirs in zip(table.named_buffers(), read.buffers(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize("estimate", [ESTIMATORS[0], ESTIMATORS[2]])
def test_kenlm_reads_the_same_probabilities(estimate, order, tmp_path):
    kenlm = pytest.importorskip("kenlm")
    table, words = model(estimate, order), arpa_words(TOKENS, **NAMES)
    write_arpa(tmp_path / "a.arpa", table, TOKENS, **NAMES)
    theirs = kenlm.Model(str(tmp_path / "a.arpa"))
    draw = np.random.default_rng(1)
    for _ in range(200):
        ids = draw.choice(np.r_[UNKNOWN, 5:SIZE], draw.integers(0, 15)).tolist()
        sentence = " ".join("never-heard" if i == UNKNOWN else words[i] for i in ids)
        framed = torch.tensor([-1] * (order - 2) + [BEGIN, *ids, END])
        contexts = framed.unfold(0, order, 1)[:, :-1]
        ours = table.log_prob(contexts, framed[order - 1 :]) / math.log(10)
        expected = [score for score, _, _ in theirs.full_scores(sentence)]
        assert ours.tolist() == pytest.approx(expected, abs=1e-5)


def test_awkward_tokens_are_made_safe_and_stay_apart():
    words = arpa_words(TOKENS, **NAMES)
    assert len(set(words)) == SIZE and all(word and word == "".join(word.split()) for word in words)
    assert words[5] == "\\u0020" and words[7] == "\\" and words[-1] == "plain" and words[BEGIN] == "<s>"
    with pytest.raises(DataError, match="the same token"):
        arpa_words([*TOKENS[:-1], TOKENS[0]], **NAMES)


GOOD = """a comment

\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-1.5\t<unk>
-99\t<s>\t-0.3
-0.4\t</s>
-0.5\tplain\t-0.25

\\2-grams:
-0.1\tplain </s>
-0.2\t<s> plain

\\end\\
"""


def test_a_file_of_another_tool(tmp_path):
    (tmp_path / "a.arpa").write_text(GOOD)
    table = read_arpa(tmp_path / "a.arpa", TOKENS, **NAMES)
    last = SIZE - 1
    contexts, tokens = torch.tensor([[BEGIN], [last], [last], [END]]), torch.tensor([last, END, UNKNOWN, BEGIN])
    expected = torch.tensor([-0.2, -0.1, -1.75, -math.inf])
    assert torch.allclose(table.log_prob(contexts, tokens) / math.log(10), expected)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\end\\", "", "not an ARPA file"),
        ("\\2-grams:", "\\3-grams:", "not an ARPA file"),
        ("ngram 2=2", "ngram 2=3", "2 of 3 2-grams"),
        ("<s> plain", "<s> nowhere", "the token nowhere is not in the vocabulary"),
        ("<s> plain", "<s> plain plain", "a line has not 2 tokens"),
        ("<s> plain", "plain </s>", "a 2-gram stands twice"),
        ("-0.2\t<s>", "-0.2 <s>", "a line is not a probability, a tab"),
        ("-0.2\t<s>", "x\t<s>", "not a number"),
    ],
)
def test_a_broken_file_is_told(old, new, message, tmp_path):
    (tmp_path / "a.arpa").write_text(GOOD.replace(old, new))
    with pytest.raises(DataError, match=message):
        read_arpa(tmp_path / "a.arpa", TOKENS, **NAMES)


def test_a_vocabulary_of_another_size_is_told(tmp_path):
    with pytest.raises(DataError, match="21 tokens for a model of 20"):
        write_arpa(tmp_path / "a.arpa", NgramTable(SIZE, 2), [*TOKENS, "more"], **NAMES)

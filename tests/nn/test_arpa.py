"""ARPA files: read back as they were, and read by KenLM to the same probabilities."""

import math

import numpy as np
import pytest
import torch
from test_ngram_counts import BEGIN, END, counted, random_documents

from lmlab.errors import DataError
from lmlab.nn.arpa import arpa_words, write_arpa
from lmlab.nn.arpa_reading import read_arpa
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


def test_columns_and_lines_one_by_one_are_read_alike(tmp_path):
    whole = model(kneser_ney, 3)
    write_arpa(tmp_path / "a.arpa", whole, TOKENS, **NAMES)
    ragged = (tmp_path / "a.arpa").read_text().replace("\t0\n", "\n")  # as SRILM has it: no back-off where it is 1
    assert ragged != (tmp_path / "a.arpa").read_text()
    (tmp_path / "b.arpa").write_text(ragged)
    read = read_arpa(tmp_path / "b.arpa", TOKENS, **NAMES)
    for (name, ours), theirs in zip(whole.named_buffers(), read.buffers(), strict=True):
        assert torch.equal(ours, theirs), name


def test_words_of_another_vocabulary_are_left_out_and_unheard_ones_are_unknown(tmp_path):
    (tmp_path / "a.arpa").write_text(GOOD.replace("ngram 1=4", "ngram 1=5").replace("ngram 2=2", "ngram 2=3"))
    longer = (tmp_path / "a.arpa").read_text().replace("\n\n\\2-", "\n-0.7\tforeign\t-0.1\n\n\\2-")
    (tmp_path / "a.arpa").write_text(longer.replace("\n\n\\end", "\n-0.3\tforeign plain\n\n\\end"))
    heard = np.arange(SIZE) >= 5
    table = read_arpa(tmp_path / "a.arpa", TOKENS, **NAMES, heard=heard)
    last = SIZE - 1
    contexts, tokens = torch.tensor([[last], [8], [last], [last]]), torch.tensor([8, last, UNKNOWN, 0])
    expected = torch.tensor([-1.75, -0.5, -1.75, -math.inf])  # of a pair of which a word is not in the file; of padding
    assert torch.allclose(table.log_prob(contexts, tokens) / math.log(10), expected)
    assert len(table.keys_2) == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\n\\end\\\n", "", "the file ends here, without.*line 15"),
        ("-0.2\t<s> plain\n\n\\end\\\n", "-0.2\t<", "the file ends here, without.*line 15"),
        ("\\2-grams:", "\\3-grams:", ".*2-grams: expected, found .*3-grams:.*line 13"),
        ("\\1-grams:", "", "not an ARPA file.*line 1"),
        ("ngram 2=2", "ngram 2=3", "3 2-grams are promised here, and the file has 2.*line 5"),
        ("ngram 2=2", "ngram 2=two", "2-grams, of which .* does not say how many.*line 13"),
        ("ngram 2=2", "ngram 2=2\nngram 3=1", "3-grams are promised here, the file has none.*line 6"),
        ("<s> plain", "<s> plain plain plain", "a probability, 2 tokens and perhaps a back-off expected.*line 15"),
        ("<s> plain", "plain </s>", "this 2-gram stands twice.*line 1[45]"),
        ("-0.2\t<s>", "x\t<s>", "a probability or back-off is not a number.*line 15"),
        ("-0.2\t<s>", "nan\t<s>", "nan is the logarithm of no probability.*line 15"),
        ("-0.2\t<s>", "0.2\t<s>", "0.2 is the logarithm of no probability.*line 15"),
        ("plain\t-0.25", "plain\tnan", "nan is the logarithm of no back-off.*line 11"),
        ("plain", "other", "none of its words"),
    ],
)
def test_a_broken_file_is_told(old, new, message, tmp_path):
    assert old in GOOD
    (tmp_path / "a.arpa").write_text(GOOD.replace(old, new))
    with pytest.raises(DataError, match=message):
        read_arpa(tmp_path / "a.arpa", TOKENS, **NAMES)


def test_an_ngram_without_its_prefix_is_told(tmp_path):
    text = GOOD.replace("ngram 2=2", "ngram 2=2\nngram 3=1")
    text = text.replace("\n\n\\end", "\n\n\\3-grams:\n-0.3\tplain <s> plain\n\n\\end")
    (tmp_path / "a.arpa").write_text(text)
    with pytest.raises(DataError, match="its first 2 tokens are no 2-gram.*line 19"):
        read_arpa(tmp_path / "a.arpa", TOKENS, **NAMES)


def test_a_vocabulary_of_another_size_is_told(tmp_path):
    with pytest.raises(DataError, match="21 tokens for a model of 20"):
        write_arpa(tmp_path / "a.arpa", NgramTable(SIZE, 2), [*TOKENS, "more"], **NAMES)

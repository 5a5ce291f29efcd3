"""Windows hold every token of a context, and characters are exact in any tokenizer."""

import numpy as np
import pytest

from lmlab.data.questions import located
from lmlab.data.ragged import Ragged
from lmlab.data.spans import QuestionWindows, trimmed
from lmlab.data.store import tokenized
from lmlab.tokenizer import KINDS, Tokenizer

TEXTS = [
    "Zoë  Müller’s café in São Paulo — 東京塔 costs $3,500.50 \U0001f600\U0001f44d\U0001f3fd ok.\n\n"
    "New\tline, e\u0301te\u0301 ﬁn",
    "  leading blanks, no\u00a0break and Ⅷ; [MASK] it's 丹佛野马队，第一。  ",
]
ANSWERS = (
    ["Müller", "São Paulo", "東京塔", "3,500.50", "ok", "New\tline"],
    ["leading blanks", "丹佛野马", "第一", "[MASK]"],
)
TOWER = TEXTS[0].index("東京塔")


def tokenizer(kind, **options):
    made = Tokenizer(kind, 264 if kind == "byte" else 300, min_frequency=1, **options)
    made.train(TEXTS * 3)
    return made


def windows(questions, contexts, answers, some, **options):
    sides = (tokenized(side, some) for side in (questions, contexts))
    spans = np.concatenate(located(contexts, some))
    sizes = {"max_length": 24, "max_question": 6, "stride": 5} | options
    return QuestionWindows(*sides, spans, answers, texts=Ragged.from_texts(contexts), frame=some.frame, **sizes)


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_answer_is_a_slice_of_its_context(kind, lowercase):
    some = tokenizer(kind, lowercase=lowercase)
    contexts = [text for text, words in zip(TEXTS, ANSWERS, strict=True) for _ in words]
    answers = [[(text.index(word), word)] for text, words in zip(TEXTS, ANSWERS, strict=True) for word in words]
    rows = windows(["who?"] * len(contexts), contexts, answers, some, max_length=400)
    for row, [(_, word)] in enumerate(answers):
        batch = rows[[row]]
        start, end = batch["start"].item(), batch["end"].item()
        assert 0 < start <= end and batch["passage"][0, start : end + 1].all()
        begin, last = batch["spans"][0, start, 0].item(), batch["spans"][0, end, 1].item()
        found = contexts[row][begin:last]
        whole = kind == "word" or (kind in ("bpe", "unigram") and found != word)  # a piece may reach beyond the answer
        assert word in found if whole else found == word, (kind, found, word)
        assert found == found.strip()


def test_spans_lose_their_blanks():
    text = " a  bc \n"
    offsets = [(0, 2), (2, 3), (2, 6), (6, 8), (0, 8), (3, 3)]
    assert trimmed(offsets, text).tolist() == [[1, 2], [3, 3], [4, 6], [8, 8], [1, 6], [3, 3]]
    assert trimmed([], "").shape == (0, 2)


def test_windows_hold_every_token_and_know_their_answer():
    some = tokenizer("char")
    contexts = [TEXTS[0], "short", TEXTS[1]]
    rows = windows(["what is it, then?", "a?", "b?"], contexts, [[(TOWER, "東京塔")], [(0, "short")], []], some)
    batch = rows[list(range(len(rows)))]
    seen = {number: set() for number in range(3)}
    for row in range(len(rows)):
        here = batch["passage"][row].nonzero().flatten().tolist()
        assert len(here) == rows.kept[row] and here == list(range(here[0], here[-1] + 1))
        first = int(rows.first[row])
        seen[batch["question"][row].item()] |= set(range(first, first + len(here)))
        ids = some.encode([contexts[batch["question"][row]]])[0][first : first + len(here)]
        assert batch["tokens"][row, here].tolist() == ids
        assert int(batch["mask"][row].sum()) == rows.lengths[row] <= 24
        assert batch["segments"][row].nonzero().flatten().tolist()[0] == here[0]
        start, end = batch["start"][row].item(), batch["end"][row].item()
        if start:
            begin, last = batch["spans"][row, start, 0], batch["spans"][row, end, 1]
            assert batch["context"][row][begin:last] == batch["answers"][row][0]
        else:
            inside = [(TOWER, TOWER + 3), (0, 5), ()][batch["question"][row]]
            whole = bool(inside) and set(range(*inside)) <= set(range(first, first + len(here)))
            assert end == 0 and not whole
    assert [len(tokens) for tokens in seen.values()] == [len(text) for text in contexts]
    assert len({(batch["question"][row].item(), int(rows.first[row])) for row in range(len(rows))}) == len(rows)
    assert rows.truncated_share == pytest.approx(1 / 3)  # of the questions


def test_a_window_does_not_depend_on_its_batch():
    rows = windows(["who?", "a?"], [TEXTS[0], "a short one"], [[(TOWER, "東京塔")], [(2, "short")]], tokenizer("bpe"))
    whole = rows[list(range(len(rows)))]
    for row in range(len(rows)):
        alone = rows[[row]]
        length = int(rows.lengths[row])
        for name in ("tokens", "mask", "segments", "passage", "spans"):
            assert (alone[name][0] == whole[name][row, :length]).all(), name
        assert not whole["mask"][row, length:].any()


def test_a_context_without_words_is_one_window():
    rows = windows(["who?"], ["\u200b"], [[]], tokenizer("wordpiece"))
    assert len(rows) == 1 and not rows[[0]]["passage"].any()

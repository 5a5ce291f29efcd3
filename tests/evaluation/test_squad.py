"""Exact match and F1 on cases worked out by hand from the definition: case, punctuation, articles, blanks, bags."""

import pytest

from lmlab.evaluation.squad import best_threshold, scores, words


@pytest.mark.parametrize(
    ("said", "compared"),
    [
        ("The  Beatles!", "beatles"),
        ("a U.S. Army", "us army"),
        ("An apple, a day\n", "apple day"),
        ("theatre and another", "theatre and another"),  # no article within a word
        ("the-an", "thean"),  # punctuation goes first
        ("a—the “x”", "— “x”"),  # only ASCII punctuation goes
        ("THE", ""),
    ],
)
def test_what_is_compared(said, compared):
    assert " ".join(words(said)) == compared


@pytest.mark.parametrize(
    ("said", "right", "exact", "f1"),
    [
        ("the Cat", ["a cat."], 1, 1),
        ("a black cat", ["cat"], 0, 2 / 3),  # 1 of 2 found, 1 of 1 right
        ("cat sat cat", ["cat cat dog mat"], 0, 4 / 7),  # a bag: cat counts twice
        ("dog", ["cat", "dog", "big dog"], 1, 1),  # the best of all
        ("big dog", ["cat", "dog"], 0, 2 / 3),
        ("mouse", ["cat"], 0, 0),
        ("", ["cat"], 0, 0),
        ("the", ["a"], 1, 0),  # equal, and 1.1 counts shared words
    ],
)
def test_version_1_1(said, right, exact, f1):
    assert scores(said, right) == (exact, pytest.approx(f1))


@pytest.mark.parametrize(
    ("said", "right", "exact", "f1"),
    [
        ("", [], 1, 1),
        ("cat", [], 0, 0),
        ("", ["cat"], 0, 0),
        ("the", [], 1, 1),  # no words are left of it
        ("cat", ["the", "cat"], 1, 1),
        ("", ["the", "cat"], 0, 0),  # "the" is no right answer
        ("", ["the"], 1, 1),
        ("big cat", ["cat"], 0, 2 / 3),
    ],
)
def test_version_2_0(said, right, exact, f1):
    assert scores(said, right, no_answer=True) == (exact, pytest.approx(f1))


def test_chinese_is_compared_by_characters():
    assert words("《NBA 2K》的，第12届。", "zh") == ["nba", "2k", "的", "第", "12", "届"]
    assert scores("丹佛野马队", ["丹佛野马"], language="zh") == (0, pytest.approx(8 / 9))
    assert scores("“丹佛 野马”", ["丹佛野马"], language="zh") == (1, 1)
    assert scores("丹佛野马队", ["丹佛野马"]).f1 == 0  # one word each


def test_the_best_threshold_is_the_best_there_is():
    margins, given, withheld = [3.0, 1.0, 1.0, -2.0], [1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]

    def mean(threshold):
        answered = [margin > threshold for margin in margins]
        return sum(g if yes else w for g, w, yes in zip(given, withheld, answered, strict=True)) / 4

    best, threshold = best_threshold(margins, given, withheld)
    assert best == mean(threshold) == max(mean(value) for value in (5, 3, 2, 1, 0, -2, -3)) == 0.75
    assert best_threshold([1.0, 2.0], [1.0, 1.0], [0.0, 0.0]) == (1.0, 0.0)  # below all margins
    assert best_threshold([1.0, 2.0], [0.0, 0.0], [1.0, 1.0]) == (1.0, 2.0)  # above none of them

import pytest

from lmlab.data.rows import Row, measured, numbered, without_blanks
from lmlab.errors import DataError


def rows(*labels, file="t.csv") -> list[Row]:
    return [Row("text", label, f"{file} line {line}") for line, label in enumerate(labels, 2)]


@pytest.mark.parametrize(
    ("labels", "classes", "names", "numbers"),
    [
        (["pos", "neg", "pos"], None, ["neg", "pos"], [1, 0, 1]),
        (["10", "9", "010"], None, ["9", "10"], [1, 0, 1]),
        ([1, "0", 1], ["negative", "positive"], ["negative", "positive"], [1, 0, 1]),
        (["1", "two"], ["two", "1"], ["two", "1"], [1, 0]),
    ],
)
def test_labels_become_class_numbers(labels, classes, names, numbers):
    found, known = numbered({"train": rows(*labels)}, classes)
    assert (known, found["train"].tolist()) == (names, numbers)


@pytest.mark.parametrize(
    ("splits", "classes", "answer"),
    [
        ({"train": rows(0, "good")}, None,
         r"'good' is text, but '0' \(t.csv line 2\) is a whole number \(t.csv line 3\)"),
        ({"train": rows("bad", "good", 7)}, None,
         r"'7' is a whole number, but 'bad' \(t.csv line 2\) is text \(.* line 4"),
        ({"train": rows(0, None)}, None, r"the label is missing \(t.csv line 3\)"),
        ({"train": rows("a", "")}, None, r"the label is missing \(t.csv line 3\)"),
        ({"train": rows(1, 1)}, None, r"all 2 training rows have the label '1'"),
        ({"train": rows("a", "a")}, ["a", "b"], r"all 2 training rows have the label 'a'"),
        ({"train": rows("a", "b"), "test": rows("c", file="test.csv")}, None,
         r"label 'c' of the test split is not among the training labels: a, b \(test.csv line 2\)"),
        ({"train": rows(0, 2)}, ["a", "b"],
         r"label '2' of the train split is not among data.classes: a, b \(t.csv line 3\)"),
    ],
)  # fmt: skip
def test_bad_labels_are_told_by_place_and_reason(splits, classes, answer):
    with pytest.raises(DataError, match=answer):
        numbered(splits, classes)


def test_labels_become_scores():
    found = measured({"train": rows("3.800", 5, "-1e-1"), "val": rows("2")})
    assert found["train"].tolist() == pytest.approx([3.8, 5.0, -0.1]) and found["val"].dtype == "float32"
    for label, said in (("good", "score 'good' is no finite"), ("inf", "score 'inf'"), (None, "the label is missing")):
        with pytest.raises(DataError, match=rf"{said}.*\(t.csv line 3\)"):
            measured({"train": rows(1, label)})
    with pytest.raises(DataError, match="all 2 training rows have the score 2.5"):
        measured({"train": rows("2.5", "2.50")})


def test_blank_texts_are_dropped_and_counted():
    some = [Row("a", 0, "1"), Row(" \n", 0, "2"), Row("b", 0, "3", pair=""), *rows(*[0] * 18)]
    kept, blank = without_blanks({"train": some}, most=0.1)
    assert (len(kept["train"]), blank) == (19, 2)


def test_too_many_blank_texts_are_an_error():
    with pytest.raises(
        DataError, match=r"2 of 3 texts of the test split are blank, the first at 5 \(data.max_blank=0.5\)"
    ):
        without_blanks({"test": [Row("a", 0, "4"), Row("", 0, "5"), Row("", 0, "6")]}, most=0.5)

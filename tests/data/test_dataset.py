import numpy as np
import pytest
import torch

from lmlab.data.dataset import TokenizedRows
from lmlab.data.ragged import Ragged, ranges

TEXTS = [[11, 12, 13], [14], [], list(range(20, 40))]
PAIRS = [[51], [52, 53, 54, 55], [56], list(range(60, 80))]


def ragged(rows: list[list[int]]) -> Ragged:
    return Ragged.from_tokens([rows[:2], rows[2:]], np.uint16)


def dataset(pairs=None, max_length=8, truncation="head") -> TokenizedRows:
    sides = [ragged(side) for side in (TEXTS, pairs) if side]
    return TokenizedRows(sides, np.arange(4), max_length=max_length, truncation=truncation)


def test_batch_is_padded_to_its_longest_row_and_masked():
    batch = dataset()[[1, 0]]
    assert batch["tokens"].tolist() == [[2, 14, 0, 0], [2, 11, 12, 13]]
    assert batch["mask"].tolist() == [[True, True, False, False], [True] * 4]
    assert batch["rows"].tolist() == batch["label"].tolist() == [1, 0]
    assert {name: tensor.dtype for name, tensor in batch.items()} == {
        "rows": torch.int64,
        "tokens": torch.int64,
        "mask": torch.bool,
        "label": torch.int64,
    }
    assert "segments" not in batch


def test_a_text_without_tokens_keeps_its_first_token():
    batch = dataset()[[2]]
    assert batch["tokens"].tolist() == [[2]]
    assert batch["mask"].all()


@pytest.mark.parametrize(
    ("truncation", "kept"),
    [
        ("head", [20, 21, 22, 23, 24, 25, 26]),
        ("head_tail", [20, 34, 35, 36, 37, 38, 39]),
        ("tail", [33, 34, 35, 36, 37, 38, 39]),
    ],
)
def test_long_texts_are_cut_and_counted(truncation, kept):
    rows = dataset(truncation=truncation)
    assert rows[[3]]["tokens"].tolist() == [[2, *kept]]
    assert rows[[0]]["tokens"].tolist() == [[2, 11, 12, 13]]
    assert rows.truncated.tolist() == [False, False, False, True]
    assert rows.lengths.tolist() == [4, 2, 1, 8]


def test_pairs_are_separated_and_their_longer_text_is_cut():
    batch = dataset(PAIRS)[[0, 1, 3]]
    assert batch["tokens"].tolist() == [
        [2, 11, 12, 13, 3, 51, 0, 0],
        [2, 14, 3, 52, 53, 54, 55, 0],
        [2, 20, 21, 22, 3, 60, 61, 62],
    ]
    assert batch["segments"].tolist() == [[0] * 5 + [1, 0, 0], [0, 0, 0, 1, 1, 1, 1, 0], [0] * 5 + [1, 1, 1]]
    assert (batch["mask"] == (batch["tokens"] != 0)).all()


def test_ragged_rows_come_back_from_disk(tmp_path):
    Ragged.from_texts(["a", "", "żółw 🐢"]).save(tmp_path, "x")
    loaded = Ragged.load(tmp_path, "x")
    assert [loaded.text(row) for row in range(3)] == ["a", "", "żółw 🐢"]
    assert loaded.lengths.tolist() == [1, 0, 12]
    Ragged.from_texts([]).save(tmp_path, "none")
    assert len(Ragged.load(tmp_path, "none")) == 0


def test_ranges_stand_one_after_another():
    assert ranges(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
    assert ranges(np.array([], int), np.array([], int)).tolist() == []

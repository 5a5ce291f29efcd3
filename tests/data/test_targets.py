import numpy as np
import pytest
import torch

from lmlab.data.dataset import NONE, TokenizedRows
from lmlab.data.ragged import Ragged
from lmlab.data.targets import TargetRows
from lmlab.tokenizer import Frame

SOURCES = [[11, 12, 13], [14], [], list(range(20, 40))]
TARGETS = [[51], [52, 53, 54, 55], [56], list(range(60, 80))]


def ragged(rows: list[list[int]]) -> Ragged:
    return Ragged.from_tokens([rows], np.uint16)


def pairs(max_length=8, targets=TARGETS, **options) -> TargetRows:
    return TargetRows(ragged(SOURCES), ragged(targets), max_length=max_length, **options)


def test_sources_are_framed_and_targets_end():
    batch = pairs()[[1, 0]]
    assert batch["tokens"].tolist() == [[2, 14, 0, 0], [2, 11, 12, 13]]
    assert batch["target"].tolist() == [[52, 53, 54, 55, 3], [51, 3, NONE, NONE, NONE]]
    assert batch["rows"].tolist() == [1, 0] and batch["mask"].sum(1).tolist() == [2, 4]
    assert {name: tensor.dtype for name, tensor in batch.items()} == {
        "rows": torch.int64,
        "tokens": torch.int64,
        "mask": torch.bool,
        "target": torch.int64,
    }


def test_sources_are_what_texts_alone_are():
    alone = TokenizedRows([ragged(SOURCES)], max_length=8, truncation="head")
    some, other = pairs()[[3, 0, 2]], alone[[3, 0, 2]]
    assert all(torch.equal(some[name], other[name]) for name in other)


def test_a_cut_target_does_not_learn_to_end():
    rows = pairs()
    assert rows[[3]]["target"].tolist() == [[60, 61, 62, 63, 64, 65, 66]]
    assert rows[[3]]["tokens"].shape == (1, 8)
    assert rows.truncated_sides == {"source": 0.25, "target": 0.25} and rows.truncated_share == 0.25
    whole = pairs(targets=[[5] * 7, [5] * 8, [5], [5]])
    assert whole[[0, 1]]["target"].tolist() == [[5] * 7 + [3], [5] * 7 + [NONE]]


def test_a_text_that_is_to_be_told_again_is_its_own_target():
    rows = ragged([[5, 6, 7], list(range(5, 25))])
    made = TargetRows(rows, rows, max_length=8)[[0, 1]]
    assert made["tokens"].tolist() == [[2, 5, 6, 7, 0, 0, 0, 0], [2, 5, 6, 7, 8, 9, 10, 11]]
    assert made["target"].tolist() == [[5, 6, 7, 3, NONE, NONE, NONE], [5, 6, 7, 8, 9, 10, 11]]


def test_what_a_batch_costs_is_both_sides():
    rows = pairs()
    assert rows.lengths.tolist() == [4 + 2, 2 + 5, 1 + 2, 8 + 7]
    assert (rows.n_targets, rows.n_tokens, len(rows)) == (16, 31, 4)


def test_one_network_reads_both_in_max_length_tokens():
    rows = pairs(joint=True)
    assert rows.target_lengths.tolist() == [2, 3, 2, 3]  # half of eight is the most, and a cut one lacks its [SEP]
    assert rows[[3]]["tokens"].tolist() == [[2, 20, 21, 22, 23]]
    assert rows[[0]]["target"].tolist() == [[51, 3]]
    assert (rows.lengths <= 8).all()
    short = pairs(joint=True, targets=[[5]] * 4)
    assert short[[3]]["tokens"].shape == (1, 6)  # a short target leaves its source more
    answered = pairs(joint=True, targets=[[5]] * 4, answer_tokens=4)
    assert answered[[3]]["tokens"].shape == (1, 4)  # room for any answer, however short the target is
    assert pairs(joint=True, max_length=4).lengths.max() <= 4


def test_what_is_scored_comes_with_its_texts_as_they_were_written():
    texts = Ragged.from_texts(["one", "", "żółw 🐢", "four"])
    others = Ragged.from_texts(["a", "b", "c", "d"])
    found = pairs(texts=(others, texts))[[2, 0]]
    assert found["reference"] == ["żółw 🐢", "one"] and found["text"] == ["c", "a"]


@pytest.mark.parametrize("truncation", ["head", "tail", "head_tail"])
def test_another_tokenizers_frame_and_separator(truncation):
    rows = pairs(frame=Frame((), (), (1,)), separator=1, pad=7, truncation=truncation)
    batch = rows[[0, 3]]
    assert batch["tokens"][0].tolist() == [11, 12, 13, 1, 7, 7, 7, 7] and batch["tokens"][1, -1] == 1
    assert batch["target"][0].tolist() == [51, 1] + [NONE] * 5

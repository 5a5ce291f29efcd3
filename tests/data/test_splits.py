import numpy as np
import pytest

from lmlab.data.rows import Row
from lmlab.data.splits import completed, shared, stratified_blocks
from lmlab.errors import DataError

SHARES = {"val_share": 0.1, "test_share": 0.1, "block": 1, "seed": 0}


def test_blocks_stay_whole_and_classes_in_proportion():
    labels = np.repeat([0, 1], 500)
    parts = stratified_blocks(labels, {"val": 0.1, "test": 0.2}, block=25, seed=3)
    assert {name: len(part) for name, part in parts.items()} == {"train": 700, "val": 100, "test": 200}
    assert sorted(np.concatenate(list(parts.values()))) == list(range(1000))
    for part in parts.values():
        assert (np.bincount(part // 25, minlength=40) % 25 == 0).all()
        assert labels[part].mean() == 0.5
        assert (np.diff(part) > 0).all()


def test_split_is_fixed_by_its_seed():
    labels = np.tile([0, 1], 100)
    one, same, other = (stratified_blocks(labels, {"test": 0.1}, block=1, seed=seed)["test"] for seed in (0, 0, 1))
    assert (one == same).all()
    assert (one != other).any()


def test_a_rare_class_stays_in_training():
    parts = stratified_blocks(np.array([0] * 20 + [1] * 2), {"val": 0.1, "test": 0.1}, block=1, seed=0)
    assert {20, 21} <= set(parts["train"])


def test_too_few_rows_are_an_error():
    with pytest.raises(DataError, match=r"4 training rows in blocks of 1 are too few .* val split would be empty"):
        stratified_blocks(np.array([0, 0, 1, 1]), {"val": 0.1, "test": 0.1}, block=1, seed=0)


def rows(texts) -> list[Row]:
    return [Row(text, 0, "") for text in texts]


def test_duplicates_never_stand_in_two_cut_splits():
    texts = [f"text {n // 2}" for n in range(200)]
    labels = {"train": np.tile([0, 1], 100)}
    splits, numbers, removed = completed({"train": rows(texts)}, labels, unique=False, **SHARES)
    sets = [{row.text for row in splits[name]} for name in ("train", "val", "test")]
    assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]
    assert removed["duplicates"] == 200 - sum(map(len, splits.values())) > 0
    assert [len(numbers[name]) for name in splits] == [len(some) for some in splits.values()]
    splits, _, removed = completed({"train": rows(texts)}, labels, unique=True, **SHARES)
    assert removed["duplicates"] == 100
    assert sum(map(len, splits.values())) == 100


def test_official_splits_stay_and_shared_rows_are_counted():
    splits = {"train": rows(f"text {n}" for n in range(50)), "test": rows(["text 1", " text  2", "new"])}
    labels = {"train": np.zeros(50, int), "test": np.zeros(3, int)}
    done, numbers, removed = completed(splits, labels, unique=False, **SHARES)
    assert done["test"] == splits["test"]
    assert (len(done["train"]), len(done["val"]), removed["duplicates"]) == (45, 5, 0)
    assert shared(splits["train"], splits["test"]) == 2


def test_fewer_training_rows_are_the_same_ones_and_leave_the_other_splits_alone():
    texts, labels = rows(f"text {n}" for n in range(200)), {"train": np.tile([0, 1], 100)}
    whole, few, more = (
        completed({"train": texts}, labels, unique=False, train_rows=n, **SHARES)[0] for n in (None, 20, 50)
    )
    assert (len(few["train"]), len(more["train"])) == (20, 50)
    assert set(few["train"]) < set(more["train"]) < set(whole["train"])
    assert few["val"] == whole["val"] and few["test"] == whole["test"]
    with pytest.raises(DataError, match="201 training rows are asked for, and there are 160 .*data.train_rows"):
        completed({"train": texts}, labels, unique=False, train_rows=201, **SHARES)


def test_a_source_of_test_rows_alone_stays_so():
    splits = {"test": rows("ab")}
    assert completed(splits, {"test": np.zeros(2, int)}, unique=False, **SHARES)[0] == splits

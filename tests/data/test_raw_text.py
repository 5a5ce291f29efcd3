"""Raw text from files and packages: documents, pieces of long ones, and how the splits are cut."""

import gzip
import json

import numpy as np
import pytest

from lmlab.data import raw_text
from lmlab.data.corpus import Corpus
from lmlab.data.raw_text import Piece, files
from lmlab.data.store import StoredRows
from lmlab.data.zh_news import ZhNews
from lmlab.errors import DataError, InputMissing
from lmlab.tokenizer import Tokenizer


def written(folder, texts, val_share=0.1, test_share=0.1) -> dict[str, str]:
    """The text of each split as it was stored, with | between documents."""
    folder.mkdir()
    raw_text.write(folder, texts, "here", val_share=val_share, test_share=test_share)
    stored = StoredRows(folder)
    told = {}
    for split in stored.splits:
        rows = stored.texts(split)
        parts = [("" if goes_on else "|") + rows.text(row) for row, goes_on in enumerate(stored.continues(split))]
        told[split] = "".join(parts)
    return told


def test_one_document_is_cut_inside_as_nanogpt_does(tmp_path):
    text = "".join(chr(97 + n % 26) for n in range(997))
    told = written(tmp_path / "rows", {"train": [Piece(text[:600]), Piece(text[600:], True)]}, test_share=0.0)
    assert told == {"train": "|" + text[:897], "val": "|" + text[897:], "test": ""}


def test_documents_are_cut_between(tmp_path):
    documents = [f"document number {n} " * (n % 5 + 1) for n in range(40)]
    told = written(tmp_path / "rows", {"train": map(Piece, documents)})
    assert "".join(told.values()) == "|" + "|".join(documents)
    whole = sum(map(len, documents))
    assert len(told["val"]) == pytest.approx(0.1 * whole, abs=100) and len(told["test"]) > 0


def test_a_character_is_never_cut(tmp_path):
    told = written(tmp_path / "rows", {"train": [Piece("語" * 101)]})
    assert "".join(told.values()).replace("|", "") == "語" * 101


def test_splits_that_the_source_has_stay(tmp_path):
    texts = {"train": [Piece("abc" * 50)], "test": [Piece("xyz")]}
    told = written(tmp_path / "rows", texts)
    assert told["test"] == "|xyz" and len(told["val"]) == 16


def test_files_folders_and_packed_files(tmp_path, monkeypatch):
    monkeypatch.setattr(raw_text, "PIECE", 8)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.txt").write_text("one\ntwo two\nthree\n")
    with gzip.open(tmp_path / "train" / "b.jsonl.gz", "wt") as file:
        file.write(json.dumps({"text": "four"}) + "\n" + json.dumps({"text": "five\n"}) + "\n")
    (tmp_path / "test.txt").write_text("six")
    found = {split: list(pieces) for split, pieces in files(tmp_path, "text", "utf-8").items()}
    assert found == {
        "train": [Piece("one\ntwo two\n"), Piece("three\n", True), Piece("four"), Piece("five\n")],
        "test": [Piece("six")],
    }
    assert list(files(tmp_path / "test.txt", "text", "utf-8", "val")) == ["val"]


def test_lines_that_are_not_blank_are_documents(tmp_path):
    read = raw_text.by_line([Piece("one\n\n  two \n"), Piece("three", True)])
    assert list(read) == [Piece("one"), Piece("two"), Piece("three")]
    (tmp_path / "said.txt").write_text("".join(f"line number {n}\n\n" for n in range(20)))
    tokenizer = Tokenizer("word", 60, min_frequency=1)
    shared = {"tokenizer": tokenizer, "cache": tmp_path / "cache", "path": tmp_path / "said.txt", "label_column": None}
    lines = Corpus(**shared, lines=True, batches="copies")
    lines.prepare()
    assert lines.stored.facts["rows"] == {"train": 16, "val": 2, "test": 2}
    whole = Corpus(**shared)
    whole.prepare()
    assert whole.stored.facts["rows"]["train"] == 1


def test_what_is_no_text_is_named(tmp_path):
    with pytest.raises(InputMissing, match="data.path= not found"):
        files(tmp_path / "nowhere", "text", "utf-8")
    (tmp_path / "picture.png").touch()
    with pytest.raises(InputMissing, match=r"no .txt or .jsonl file.*Found there: picture.png"):
        files(tmp_path, "text", "utf-8")
    (tmp_path / "blank.txt").write_text("  \n")
    with pytest.raises(DataError, match="there is no text"):
        written(tmp_path / "rows", files(tmp_path, "text", "utf-8"), val_share=0.0, test_share=0.0)
    (tmp_path / "latin.txt").write_bytes("café\n".encode("latin-1"))
    with pytest.raises(DataError, match="byte 0xe9 in line 1"):
        list(files(tmp_path / "latin.txt", "text", "utf-8")["train"])


def test_a_corpus_of_raw_text_counts_its_bytes_exactly(tmp_path):
    text = "Ein schöner Satz über Wörter.\n" * 60
    (tmp_path / "book.txt").write_text(text)
    corpus = Corpus(
        tokenizer=Tokenizer("bpe", 300),
        cache=tmp_path / "cache",
        path=tmp_path / "book.txt",
        label_column=None,
        batches="blocks",
        max_length=16,
        batch_tokens=64,
        eval_batch_tokens=48,
    )
    corpus.prepare()
    corpus.setup("fit")
    n_bytes = {split: 0.0 for split in ("val", "test")}
    for split in n_bytes:
        for batch in getattr(corpus, f"{split}_dataloader")():
            n_bytes[split] += batch["bytes"].sum().item()
            assert batch["tokens"].shape[1] == 16 and (batch["tokens"][batch["mask"]] >= 3).all()
        assert n_bytes[split] == pytest.approx(len(corpus.stored.texts(split).values))
    assert corpus.classes is None and sum(n_bytes.values()) == pytest.approx(0.2 * len(text.encode()), abs=3)
    assert len(list(corpus.train_dataloader())) == corpus.order.batches_per_epoch
    values, offsets, _ = corpus.documents("train")
    assert corpus.n_targets == len(values) + len(offsets) - 1  # every token, and the [SEP] after each document


def test_the_newspaper_has_lost_its_tags():
    texts = list(ZhNews(tokenizer=Tokenizer("byte", 300), cache="unused", label_column=None).read_package()["train"])
    said = "".join(piece.text for piece in texts)
    assert said.startswith("迈向充满希望的新世纪——一九九八年新年讲话（附图片１张）\n") and "/n" not in said
    assert [piece.continues for piece in texts] == [False, *[True] * (len(texts) - 1)]
    assert np.isclose(len(said), 1_860_000, rtol=0.05)

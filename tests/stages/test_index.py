"""A search from its pairs to what is found: learned, resumed, judged by two processes, indexed, asked."""

import io
import json
import shutil
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from jobs import TINY, inside, lmlab, only_run
from lmlab import checkpointing
from lmlab.errors import LmlabError
from lmlab.stages import nearest
from search_files import COLUMNS, asked, write_asked

SHORT = [word for word in TINY if "max_epochs" not in word and "batch_tokens" not in word] + [
    "trainer.max_epochs=12",
    "data.batch_tokens=1024",
    "data.max_length=16",
    "optimizer.lr=1e-2",
    "logger=csv",
    "trainer=cpu",
]


def job(cwd, *more: str) -> list[str]:
    return ["data=pair_files", f"data.path={write_asked(cwd / 'asked')}", *SHORT, *more]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("search")
    done = inside(*job(cwd, "task.matryoshka=[8]"), cwd=cwd)
    run = only_run(cwd)
    (cwd / "texts.txt").write_text("".join(f"{document}\n" for _, document, _ in asked(40)) + "\n", encoding="utf-8")
    inside("stage=index", f"run={run}", "stage.input=texts.txt", cwd=cwd)
    return cwd, run, done


def scores(run) -> dict:
    return json.loads((run / "metrics.json").read_text())


def test_what_a_run_tells(finished):
    _, run, done = finished
    told = scores(run)["test"]
    assert told["test/rows"] == told["test/documents"] == 40
    assert told["test/recall_1"] == told["test/ndcg_10"] == 1  # the rows that it has learned by heart
    assert 0 < told["test/ndcg_10_d8"] <= 1
    assert "stage=index" in done.stdout and "stage=search" in done.stdout


def test_one_query_is_answered_in_the_terminal(finished):
    cwd, run, _ = finished
    done = inside("stage=search", f"run={run}", "stage.query=a fox from rome", "stage.n=3", cwd=cwd)
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and lines[0].split(maxsplit=2)[2] == "in rome they have a fine fox"
    cosines = [float(line.split()[1]) for line in lines]
    assert cosines == sorted(cosines, reverse=True) and cosines[0] <= 1


def test_a_file_of_queries_and_a_pipe_of_them(finished, monkeypatch):
    cwd, run, _ = finished
    (cwd / "queries.csv").write_text("query\n" + "".join(f"{query}\n" for query, _, _ in asked(40)) + '" "\n')
    words = ["stage=search", f"run={run}", "stage.n=2"]
    named = ["stage.input=queries.csv", "stage.text_column=query", "stage.output=found.jsonl"]
    assert "left out 1 blank queries" in inside(*words, *named, cwd=cwd).stderr
    rows = [json.loads(line) for line in (cwd / "found.jsonl").read_text().splitlines()]
    assert len(rows) == 80 and rows[0].keys() == {"query", "rank", "score", "row", "text"}
    assert [row["text"] for row in rows[::2]] == [document for _, document, _ in asked(40)]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a cat from paris\n")))
    piped = [json.loads(line) for line in inside(*words, cwd=cwd).stdout.splitlines()]
    assert [row["row"] for row in piped] == [row["row"] for row in rows[:2]]


def test_an_index_holds_what_the_run_says_of_its_texts(finished):
    cwd, run, _ = finished
    vectors = np.load(run / "index" / "vectors.npy")
    assert vectors.shape == (40, 16) and vectors.dtype == np.float32  # the blank line is left out
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    inside("stage=index", f"run={run}", "stage.output=own", "stage.width=8", cwd=cwd)  # the run's own documents
    some = np.load(cwd / "own" / "vectors.npy")
    assert some.shape == (40, 8) and np.allclose(np.linalg.norm(some, axis=1), 1, atol=1e-6)
    done = inside("stage=search", f"run={run}", "stage.folder=own", "stage.query=a hen from oslo", cwd=cwd)
    assert "in oslo they have a fine hen" in done.stdout


@pytest.mark.parametrize("kind", ["faiss", "hnsw"])
def test_an_approximate_index_finds_the_same(finished, kind):
    cwd, run, _ = finished
    if find_spec(nearest.KINDS[kind].package) is None:
        done = inside("stage=index", f"run={run}", f"stage.index={kind}", "stage.output=no", cwd=cwd, check=False)
        assert done.returncode == 2 and "pip install 'lmlab[search]'" in done.stderr
        assert not (cwd / "no").exists()
        return
    words = ["stage.query=a tin from bern", "stage.n=4"]
    expected = inside("stage=search", f"run={run}", *words, cwd=cwd).stdout
    inside("stage=index", f"run={run}", "stage.input=texts.txt", f"stage.index={kind}", "stage.output=fast", cwd=cwd)
    assert inside("stage=search", f"run={run}", "stage.folder=fast", *words, cwd=cwd).stdout == expected


def test_bad_inputs_are_told_in_one_line(finished, tmp_path):
    cwd, run, _ = finished

    def refused(code: int, told: str, *words: str) -> None:
        done = inside(*words, cwd=cwd, check=False)
        assert done.returncode == code and told in done.stderr, done.stderr
        assert done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr

    search = ["stage=search", f"run={run}"]
    refused(66, "the query is blank", *search, "stage.query=' '")
    refused(66, "there is no index", *search, "stage.query=x", "stage.folder=nowhere")
    refused(2, "both a query and a file", *search, "stage.query=x", "stage.input=texts.txt")
    (cwd / "blank.txt").write_text("\n\n")
    index = ["stage=index", f"run={run}", "stage.output=other"]
    refused(65, "there is no text to index", *index, "stage.input=blank.txt")
    refused(66, "file not found", *index, "stage.input=nowhere.txt")
    refused(2, "stage.width=99 is more than the 16 numbers", *index, "stage.input=texts.txt", "stage.width=99")
    refused(66, "there is no index", *search, "stage.query=x", "stage.folder=other")  # none that is half made
    shutil.copytree(run / "index", cwd / "foreign")
    facts = json.loads((cwd / "foreign" / "index.json").read_text())
    for change, code, told in (
        ({"model": "another"}, 76, "the index was made by another model"),
        ({"width": 12}, 65, "the index is not whole"),
        ({"format": 99}, 65, "not an index that this lmlab reads"),
    ):
        (cwd / "foreign" / "index.json").write_text(json.dumps(facts | change))
        refused(code, told, *search, "stage.query=x", "stage.folder=foreign")
    refused(2, "asks what a SemanticSearch run does not answer", "stage=generate", f"run={run}")
    (tmp_path / "asked.csv").write_text("query,answer\na,b\n")
    refused(65, "column 'document' not found", "data=pair_files", f"data.path={tmp_path / 'asked.csv'}", *SHORT)


def test_two_texts_are_compared(finished):
    cwd, run, _ = finished
    (cwd / "two.txt").write_text("a fox from rome\tin rome they have a fine fox\n")
    row = json.loads(inside("stage=predict", f"run={run}", "stage.input=two.txt", cwd=cwd).stdout)
    assert 0.5 < row["score"] <= 1.0001


def test_two_processes_score_each_row_once_and_what_one_does(finished):
    cwd, run, _ = finished
    inside("stage=test", f"run={run}", cwd=cwd)
    (name,) = (name for name in scores(run) if name.startswith("test on"))
    expected = scores(run)[name]
    lmlab("stage=test", f"run={run}", "trainer=ddp", cwd=cwd)
    assert scores(run)[name] == pytest.approx(expected, rel=1e-5) and expected["test/rows"] == 40


def test_two_processes_learn_what_one_does(tmp_path):
    """Documents of both are in the batch: the losses and weights are those of one batch."""
    write_asked(tmp_path / "asked", 41, COLUMNS)
    words = ["data=pair_files", f"data.path={tmp_path / 'asked'}", "data.negative_column=negative", *SHORT]
    words += ["trainer.max_steps=3", "trainer.max_epochs=-1"]
    words += ["optimizer=sgd", "optimizer.lr=0.5"]  # AdamW makes steps of gradients that are zero but for rounding
    words = [word for word in words if word not in ("trainer.max_epochs=12", "optimizer.lr=1e-2")]
    inside(*words, "run.id=one", cwd=tmp_path)
    lmlab(*words, "run.id=two", "trainer.devices=2", "trainer.strategy=ddp", cwd=tmp_path)
    one, two = (
        checkpointing.load(tmp_path / "outputs" / "transformer-pair_files" / name / "checkpoints" / "last.ckpt")
        for name in ("one", "two")
    )
    for name, tensor in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], tensor, atol=1e-5, rtol=1e-4)


def test_a_training_goes_on_exactly(tmp_path):
    words = [word for word in job(tmp_path) if "max_epochs" not in word]
    saving = ["callbacks.checkpoint.every_n_steps=1", "callbacks.checkpoint.keep_last=99", "trainer.max_epochs=3"]
    words = [word for word in words if "batch_tokens" not in word] + ["data.batch_tokens=256"]
    inside(*words, *saving, cwd=tmp_path)
    run, whole = only_run(tmp_path), tmp_path / "whole"
    shutil.copytree(run, whole)
    later = [path for path in (run / "checkpoints").glob("step-*") if path.name > "step-00000003~"]
    assert later
    for path in [*later, run / "metrics.json"]:
        path.unlink()
    assert "going on from step 3" in inside(f"resume={run}", cwd=tmp_path).stderr
    ended = [checkpointing.load(some / "checkpoints" / "last.ckpt")["state_dict"] for some in (run, whole)]
    for name, tensor in ended[1].items():
        assert torch.equal(tensor, ended[0][name]), name
    assert scores(run)["test"] == scores(whole)["test"]


def test_weights_are_judged_as_they_are(finished, tmp_path):
    """No epoch: the run keeps what it began with."""
    cwd, run, _ = finished
    words = [word for word in SHORT if not word.startswith(("tokenizer", "trainer.max_epochs"))]
    words += ["tokenizer=pretrained", "tokenizer.vocab_size=200", "trainer.max_epochs=0", f"weights={run}"]
    done = inside("data=pair_files", f"data.path={cwd / 'asked'}", *words, cwd=tmp_path)
    again = only_run(tmp_path)
    assert scores(again)["fit"]["fit/steps"] == 0 and "tensors taken" in done.stderr
    expected = {name: value for name, value in scores(run)["test"].items() if "_d8" not in name}
    assert scores(again)["test"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["exact", "faiss", "hnsw"])
def test_the_nearest_are_those_that_sorting_finds(kind, tmp_path):
    searcher = nearest.KINDS[kind]
    if searcher.package and find_spec(searcher.package) is None:
        with pytest.raises(LmlabError, match="is not installed"):
            searcher.library()
        return
    draw = np.random.default_rng(0)
    vectors, queries = (draw.normal(size=(n, 8)).astype(np.float32) for n in (500, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[7] = vectors[3]  # of two that are alike, the first
    searcher.build(tmp_path, vectors)
    index = searcher(tmp_path, vectors)
    cosines, rows = index.search(queries, 9)
    expected = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :9]
    assert (rows == expected).all()
    np.testing.assert_allclose(cosines, np.take_along_axis(queries @ vectors.T, expected, 1), rtol=1e-5)
    assert index.search(queries, 500)[1].shape == (6, 500)

"""A translation model from its files to its translations: trained, scored, resumed, averaged, asked."""

import csv
import io
import json
import shutil
import sys
from pathlib import Path

import pytest
import sacrebleu
import torch

from jobs import TINY, inside, lmlab, only_run, write_pairs
from lmlab.tokenizer import Tokenizer

SHORT = [word for word in TINY if "max_epochs" not in word] + [
    "trainer.max_epochs=4",
    "data.val_share=0.2",
    "data.test_share=0.2",
    "data.max_length=16",
    "logger=csv",
    "optimizer.lr=3e-3",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("translation")
    more = ["callbacks.checkpoint.keep_validated=3", "task.decoding.min_length=2", "trainer=cpu"]
    done = inside(*write_pairs(cwd / "pairs"), *SHORT, *more, cwd=cwd)
    return cwd, only_run(cwd), done


def scores(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def test_what_a_run_tells_and_leaves(finished):
    cwd, run, done = finished
    told = scores(run)["test"]
    with next((run / "predictions").glob("*test*.csv")).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(len(rows))) and len(rows) == told["test/rows"] == 8
    exact = sacrebleu.corpus_bleu([row["hypothesis"] for row in rows], [[row["reference"] for row in rows]])
    assert told["test/bleu"] == pytest.approx(exact.score, rel=1e-6)
    assert "nrefs:1|case:mixed" in done.stdout
    assert list((run / "samples").glob("step-*.csv")) and list((run / "plots").glob("alignments*.png"))


def test_a_file_and_a_pipe_are_translated_in_their_order(finished, monkeypatch):
    cwd, run, _ = finished
    (cwd / "asked.txt").write_text("un kat\n\nduo hund tri\n", encoding="utf-8")
    inside("stage=predict", f"run={run}", "stage.input=asked.txt", "stage.output=told.txt", cwd=cwd)
    lines = (cwd / "told.txt").read_text(encoding="utf-8").split("\n")
    assert len(lines) == 4 and lines[1] == lines[3] == ""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"un kat\nduo hund tri\n")))
    more = ["task.decoding.n_best=2"]
    rows = [json.loads(line) for line in inside("stage=predict", f"run={run}", *more, cwd=cwd).stdout.splitlines()]
    assert [row["text"] for row in rows] == ["un kat", "duo hund tri"]
    assert [row["output"] for row in rows] == [lines[0], lines[2]]
    assert all(row["score"] >= row["score_2"] for row in rows)


def test_an_average_of_checkpoints_is_tested(finished):
    cwd, run, _ = finished
    inside("stage=test", f"run={run}", "average=3", cwd=cwd)
    (name,) = (name for name in scores(run) if "average" in name)
    assert scores(run)[name]["test/rows"] == 8 and scores(run)[name]["test/loss"] != scores(run)["test"]["test/loss"]
    refused = inside("stage=test", f"run={run}", "average=5", cwd=cwd, check=False)
    assert refused.returncode == 76 and "keep_validated=5" in refused.stderr


def test_two_processes_decode_each_row_once_and_score_what_one_does(finished):
    cwd, run, _ = finished
    inside("stage=test", f"run={run}", cwd=cwd)
    written = run / "predictions" / "hypotheses_test.csv"
    before = written.read_text(encoding="utf-8")
    written.unlink()
    lmlab("stage=test", f"run={run}", "trainer=ddp", cwd=cwd)
    assert written.read_text(encoding="utf-8") == before and before.count("\n") == 9
    again = next(values for name, values in scores(run).items() if name.startswith("test on") and "avera" not in name)
    expected = scores(run)["test"]
    assert again.keys() == expected.keys() and again["test/rows"] == 8
    assert again == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("model", ["transformer", "gru", "gpt2_mini"])
def test_a_training_goes_on_exactly(model, tmp_path):
    sized = [word for word in SHORT if model != "gpt2_mini" or "d_ff" not in word]
    sized = [
        word for word in sized if model != "gru" or not word.startswith(("model.network.n_heads", "model.network.d_ff"))
    ]
    words = [*write_pairs(tmp_path / "pairs"), *sized, f"model={model}", "trainer=cpu", "callbacks.ema.decay=0.9"]
    inside(*words, "callbacks.checkpoint.every_n_steps=1", "callbacks.checkpoint.keep_last=99", cwd=tmp_path)
    run, whole = only_run(tmp_path), tmp_path / "whole"
    shutil.copytree(run, whole)
    later = [path for path in (run / "checkpoints").glob("step-*") if path.name > "step-00000003~"]
    assert later
    for path in [*later, run / "metrics.json"]:
        path.unlink()
    done = inside(f"resume={run}", cwd=tmp_path)
    assert "going on from step 3" in done.stderr
    ended = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for folder in (run, whole)
    ]
    for name, tensor in ended[1].items():
        assert torch.equal(tensor, ended[0][name]), name
    for split in ("val", "test"):
        assert scores(run)[split] == scores(whole)[split]


def test_sides_with_vocabularies_of_their_own(tmp_path):
    words = [*write_pairs(tmp_path / "pairs"), *SHORT, "data.separate_vocabularies=true"]
    absent = [word for word in words if word.partition("=")[0].rpartition(".")[2] not in ("n_heads", "d_ff")]
    inside(*absent, "trainer=cpu", "model=gru", cwd=tmp_path)
    run = only_run(tmp_path)
    source, target = (Tokenizer("word", 200, path=run / f"{name}.json") for name in ("tokenizer", "target_tokenizer"))
    assert "hund" in source.entries() and "dog" not in source.entries() and "dog" in target.entries()
    told = scores(run)["test"]
    inside("stage=test", f"run={run}", cwd=tmp_path)
    again = next(values for name, values in scores(run).items() if name.startswith("test on"))
    assert again == pytest.approx(told, rel=1e-5)
    refused = inside(*words, "model=bert", "trainer=cpu", cwd=tmp_path, check=False)
    assert refused.returncode == 2 and "two vocabularies need two" in refused.stderr

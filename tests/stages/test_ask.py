"""Question answering from its files to an answer: trained, scored by one process and by two, resumed, asked."""

import csv
import json
import shutil
import sys

import pytest
import torch

from jobs import TINY, inside, lmlab, only_run
from question_files import write_questions

JOB = [
    "data=squad_files",
    "data.path=houses.json",
    "data.max_length=24",
    "data.stride=6",
    "data.val_share=0.2",
    "data.test_share=0.2",
    *TINY,
    "optimizer.lr=3e-3",
    "logger=csv",
    "trainer=cpu",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("questions")
    write_questions(cwd / "houses.json", 15, without_answer=True)
    saving = ["callbacks.checkpoint.every_n_steps=1", "callbacks.checkpoint.keep_last=99"]
    done = inside(*JOB, *saving, "data.no_answer=true", cwd=cwd)
    return cwd, only_run(cwd), done


def scores(run):
    return json.loads((run / "metrics.json").read_text())


def test_what_a_run_tells(finished):
    _, run, done = finished
    told = scores(run)["test"]
    assert told["test/rows"] == 12 and 0 <= told["test/exact_match"] <= told["test/f1"] <= told["test/best_f1"] <= 100
    assert {"test/f1_answerable", "test/f1_unanswerable", "test/best_threshold"} <= told.keys()
    assert "SQuAD 2.0, best over the right answers" in done.stdout
    with (run / "predictions" / "answers.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    worst = [float(row["f1"]) for row in rows]
    assert len(rows) == 12 and worst == sorted(worst)
    assert 100 * sum(worst) / 12 == pytest.approx(told["test/f1"], abs=0.01)
    assert all(f"[[{row['answer']}]]" in row["context"] for row in rows if row["answer"])
    assert len(list((run / "samples").glob("step-*.csv"))) == 2
    assert "stage=ask run=outputs" in done.stdout


def test_two_processes_score_what_one_does(finished):
    cwd, run, _ = finished
    before = set(scores(run))
    lmlab("stage=test", f"run={run}", "trainer=ddp", cwd=cwd)
    (name,) = set(scores(run)) - before
    assert scores(run)[name] == pytest.approx(scores(run)["test"], rel=1e-5)


def test_a_training_goes_on_exactly(finished):
    cwd, run, _ = finished
    whole = cwd / "whole"
    shutil.copytree(run, whole)
    later = [path for path in (run / "checkpoints").glob("step-*") if path.name > "step-00000003~"]
    assert later
    for path in [*later, run / "metrics.json"]:
        path.unlink()
    assert "going on from step 3" in inside(f"resume={run}", cwd=cwd).stderr
    ended = [torch.load(of / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for of in (run, whole)]
    assert all(torch.equal(tensor, ended[1][name]) for name, tensor in ended[0].items())
    assert scores(run)["test"] == scores(whole)["test"]


def test_a_text_a_file_and_a_folder_are_asked(finished):
    cwd, run, _ = finished
    ask = ["stage=ask", f"run={run}", "stage.question=What does Bert keep, and why?", "stage.n=3"]
    long = " ".join(f"In house {number}: Bert keeps [two] green fish, or so." for number in range(40))
    said = inside(*ask, f"stage.context={long}", cwd=cwd).stdout
    rows = [line for line in said.splitlines() if "│" in line]
    assert (
        "What does Bert keep, and why?" in said
        and rows
        and "there seems to be no answer"
        in inside(*ask, f"stage.context={long}", "stage.threshold=1000", cwd=cwd).stdout
    )
    (cwd / "texts").mkdir()
    for name in ("one.txt", "two.txt"):
        (cwd / "texts" / name).write_text(long)
    said = inside(*ask, "stage.context=texts/one.txt", cwd=cwd).stdout
    assert "one.txt" in said and "two.txt" not in said
    said = inside(*ask, "stage.context=texts", cwd=cwd).stdout
    assert "one.txt" in said and "two.txt" in said  # they are equal, so are their answers


def test_a_table_of_questions_is_answered_in_its_order(finished):
    cwd, run, _ = finished
    context = "In house 1: Bert keeps a red bird. " * 5
    lines = [{"question": f"What does {who} keep?", "context": context} for who in ("Bert", "Anna", "Cleo")]
    (cwd / "asked.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    columns = ["stage.text_column=question", "stage.pair_column=context", "task.threshold=-1000"]
    said = inside("stage=predict", f"run={run}", "stage.input=asked.jsonl", *columns, cwd=cwd).stdout
    rows = [json.loads(line) for line in said.splitlines()]
    assert [row["text"] for row in rows] == [line["question"] for line in lines]
    assert all(row["answer"] == context[row["begin"] : row["end"]] != "" for row in rows)


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        (["stage.context=a text"], 66, "no question is asked (stage.question)"),
        (["stage.question=", "stage.context=a text"], 66, "no question is asked"),
        (["stage.question=Who?"], 66, "the context is empty (stage.context)"),
        (["stage.question=Who?", "stage.context=  "], 66, "the context is empty (stage.context)"),
        (["stage.question=Who?", "stage.context=texts/gone.txt"], 66, "there is no such file (texts/gone.txt)"),
        (["stage.question=Who?", "stage.context=blank.txt"], 65, "blank.txt has no words"),
        (["stage.question=Who?", "stage.context=."], 66, "there is no .txt file in the folder"),
        (["stage.question=Who?", "stage.context=latin.txt"], 65, "Set data.encoding=latin-1"),
    ],
)
def test_what_cannot_be_asked(finished, tmp_path, asked, code, said):
    _, run, _ = finished
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "latin.txt").write_bytes("café au lait".encode("latin-1"))
    if "stage.context=." in asked:
        for name in ("blank.txt", "latin.txt"):
            (tmp_path / name).unlink()
    done = inside("stage=ask", f"run={run}", *asked, cwd=tmp_path, check=False)
    assert done.returncode == code and said in done.stderr, done.stderr
    assert done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr


def test_other_runs_are_not_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["src/run.py"])
    done = inside("model=ngram", "data=squad", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "Models that fit this task" in done.stderr
    done = inside("data=imdb", "task=question_answering", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "needs question, context, answer" in done.stderr
    done = inside("data=squad", "task=classification", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "Tasks that fit this corpus: question_answering" in done.stderr

"""A run on a task of GLUE from training to the leaderboard's file, and a sweep over tasks."""

import csv
import io
import json
import sys

import pytest
import yaml

import run as front
from glue_files import write_glue
from jobs import TINY, lmlab
from lmlab.errors import InputMissing


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """`python src/run.py ...` in this process, in a folder with tiny files of all nine tasks; what it printed."""
    write_glue(tmp_path / "glue")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["src/run.py"])

    def call(*arguments: str, code: int = 0) -> str:
        assert front.main(arguments) == code, capsys.readouterr().err
        said = capsys.readouterr()
        return said.err if code else said.out

    return call


TRAIN = [*TINY, "trainer=cpu", "logger=csv", "data.path=glue", "run.id=it"]


def entries(file):
    with file.open() as lines:
        return [row["prediction"] for row in csv.DictReader(lines, delimiter="\t")]


@pytest.mark.filterwarnings("ignore")
def test_a_regression_on_pairs(here, tmp_path):
    said = here("experiment=glue", "data=glue/stsb", *TRAIN)
    assert "spearman" in said and "dev" in said and "test" not in said.partition("Results")[2].partition("rows")[0]
    run = tmp_path / "outputs/transformer-glue-stsb/it"  # not a folder in a folder
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["val"]["val/rows"] == 10 and metrics["test"] == {}
    assert "stage.pair_column=pair" in said and "leaderboard  python src/run.py stage=predict run=outputs" in said
    assert "spearman" in here("stage=test", "run=outputs/transformer-glue-stsb/it")
    scored = [values for name, values in json.loads((run / "metrics.json").read_text()).items() if "val on" in name]
    assert scored == [pytest.approx(metrics["val"], abs=1e-6)]
    assert (run / "plots" / "estimates.png").is_file()
    worst = [float(row["error"]) for row in csv.DictReader((run / "predictions" / "mistakes.csv").open())]
    assert len(worst) == 10 and worst == sorted(worst, reverse=True)
    here("stage=predict", f"run={run}")
    found = entries(run / "predictions" / "STS-B.tsv")
    assert len(found) == 5 and all(len(entry) == 5 and 0 <= float(entry) <= 5 for entry in found)
    (tmp_path / "in.csv").write_text("b,a\nsecond,first\n")
    columns = ["stage.text_column=a", "stage.pair_column=b"]
    (answer,) = map(json.loads, here("stage=predict", f"run={run}", "stage.input=in.csv", *columns).splitlines())
    assert answer | {"score": 0} == {"text": "first", "pair": "second", "score": 0}
    (tmp_path / "in.txt").write_text("first\tsecond\nalone\n")
    refused = here("stage=predict", f"run={run}", "stage.input=in.txt", code=65)
    assert "error: two texts with a tab between expected (in.txt line 2)" in refused
    refused = here("stage=predict", f"run={run}", "stage.input=in.csv", code=2)
    assert "trained on pairs of texts (in.csv). Name the column of the second text with stage.pair_column=" in refused


@pytest.mark.filterwarnings("ignore")
def test_matched_and_mismatched_are_both_scored(here, tmp_path):
    balanced = ["task.class_weights=balanced"]
    said = here("data=glue/mnli", *TRAIN, *balanced)
    assert "dev_matched" in said and "dev_mismatched" in said
    run = tmp_path / "outputs/transformer-glue-mnli/it"
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["val"]["val/rows"] == metrics["test"]["test/rows"] == 10
    assert yaml.safe_load((run / "config.yaml").read_text())["task"]["class_weights"] == pytest.approx(
        [40 / 3 / 13, 40 / 3 / 13, 40 / 3 / 14], abs=1e-5
    )
    assert {path.name for path in (run / "plots").iterdir()} >= {"confusion_matrix.png", "confusion_matrix_val.png"}
    here("stage=test", f"run={run}")
    assert len([name for name in json.loads((run / "metrics.json").read_text()) if " on files " in name]) == 2
    here("stage=predict", f"run={run}", "stage.output=answers")
    assert sorted(path.name for path in (tmp_path / "answers").iterdir()) == ["MNLI-m.tsv", "MNLI-mm.tsv"]
    assert set(entries(tmp_path / "answers/MNLI-m.tsv")) <= {"entailment", "neutral", "contradiction"}
    here(*balanced, "resume=outputs/transformer-glue-mnli/it", "trainer.max_epochs=3")  # the same weights


def test_a_single_text_takes_no_pair_and_standard_input_is_read_if_asked_for(here, tmp_path, monkeypatch):
    here("data=glue/cola", *TRAIN, "trainer.max_steps=1")
    run = "run=outputs/transformer-glue-cola/it"
    (tmp_path / "in.csv").write_text("text,pair\na,b\n")
    refused = here("stage=predict", run, "stage.input=in.csv", "stage.pair_column=pair", code=2)
    assert "trained on single texts (stage.pair_column=pair)" in refused
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the tale is told\n")))
    (answer,) = map(json.loads, here("stage=predict", run, "stage.input=-").splitlines())
    assert answer["text"] == "the tale is told"
    (tmp_path / "glue/CoLA/test.tsv").unlink()
    assert "CoLA has no test.tsv" in here("stage=predict", run, code=InputMissing.exit_code)


def test_a_sweep_over_tasks_ends_in_one_table(here, tmp_path):
    job = [typed for typed in TRAIN if not typed.startswith("run.id")]
    tasks = "data=glue/cola,glue/stsb"
    said = lmlab("-m", "experiment=glue", tasks, *job, "sweep.name=glue", cwd=tmp_path).stdout
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.rpartition("Sweep")[2].splitlines()]
    assert [row[1:4] for row in rows if row] == [
        ["finished", "glue/cola", "matthews / accuracy"],
        ["finished", "glue/stsb", "spearman / pearson"],
    ]

"""One run folder and all that later stages make of it."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from matplotlib.figure import Figure

import run as front
from jobs import PLANTED, TINY, inside, lmlab, only_run, write_reviews


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with one finished run in it."""
    cwd = tmp_path_factory.mktemp("finished")
    write_reviews(cwd / "reviews")
    done = lmlab("data=text_files", "data.path=reviews", *TINY, cwd=cwd)
    return cwd, only_run(cwd), done


@pytest.fixture
def here(finished, monkeypatch, capsys):
    """`python src/run.py ...` in this process and in that folder; what it printed."""

    def call(*arguments: str) -> str:
        monkeypatch.chdir(finished[0])
        monkeypatch.setattr(sys, "argv", ["src/run.py"])
        assert front.main(arguments) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return call


def test_ngrams_that_weights_bring_are_those_their_vectors_were_learned_for(finished, tmp_path):
    cwd, run, _ = finished
    write_reviews(tmp_path / "reviews", n=3)
    shape = [word for word in TINY if word not in ("tokenizer=word", "tokenizer.min_frequency=1")]
    words = ["data=text_files", "data.path=reviews", f"weights={run}", "tokenizer=pretrained", *shape]
    inside(*words, "trainer=cpu", cwd=tmp_path)
    first, second = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]["network.ngrams.keys"]
        for folder in (run, only_run(tmp_path))
    )
    assert torch.equal(first, second) and (first < first.max()).any()


def test_the_run_folder_holds_what_the_architecture_says(finished):
    cwd, run, done = finished
    held = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert held >= {
        *("config.yaml", "overrides.yaml", "manifest.json", "metrics.csv", "metrics.json", "tokenizer.json", "run.log"),
        *("checkpoints/best.ckpt", "checkpoints/last.ckpt", "plots/learning_curve.png", "plots/confusion_matrix.png"),
    }
    assert not [name for name in held if "=" in name]
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "finished" and manifest["seed"] == 1 and manifest["corpus"]["rows"]["train"] == 40
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (
        config["data"]["classes"] == ["negative", "positive"]
        and "data.path=reviews" in (run / "overrides.yaml").read_text()
    )
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["config"] == config
    assert "Results" in done.stdout and "wandb leet" in done.stdout and "Results" in (run / "run.log").read_text()
    assert sorted(path.name for path in cwd.iterdir()) == ["outputs", "reviews"]


def test_wandb_holds_the_final_numbers(finished):
    _, run, _ = finished
    command = ["wandb", "leet", "inspect", "--summary", "--json", str(run / "wandb")]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
    metrics = json.loads((run / "metrics.json").read_text())
    for values in metrics.values():
        for name, value in values.items():
            assert told["summary"][name] == pytest.approx(value), name
    assert "plots/confusion_matrix" in told["summary"]
    (log,) = run.glob("wandb/offline-run-*/run-*.wandb")
    assert b"src/run.py" not in log.read_bytes()  # the command line could hold a secret
    assert told["config"]["model"]["network"]["d_model"] == 16


def test_no_secret_is_kept(finished):
    _, run, _ = finished
    held = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for secret in PLANTED.values():
        assert not [path for path, content in held.items() if secret.encode() in content]


def test_a_later_stage_needs_the_folder_alone(finished, here):
    cwd, run, _ = finished
    before = json.loads((run / "metrics.json").read_text())
    here("stage=test", f"run={run}")
    after = json.loads((run / "metrics.json").read_text())
    (again,) = [name for name in after if name not in before]
    assert after[again] == pytest.approx(before["test"], abs=1e-6)


def test_a_run_is_scored_with_the_mean_of_its_last_weights_under_a_name_of_its_own(finished, here, capsys):
    _, run, _ = finished
    before = json.loads((run / "metrics.json").read_text())
    here("stage=test", f"run={run}", "average=2")
    after = json.loads((run / "metrics.json").read_text())
    (name,) = after.keys() - before.keys()
    assert name.endswith(" (average of 2)") and after[name] != before["test"]
    assert front.main(["stage=test", f"run={run}", "average=9"]) == 76
    assert "kept 2 validated checkpoints" in capsys.readouterr().err


def test_a_run_that_was_moved_keeps_what_a_later_stage_draws(finished, tmp_path):
    shutil.copytree(finished[1], tmp_path / "moved", ignore=shutil.ignore_patterns("plots", "wandb"))
    inside("stage=test", "run=moved", f"data.path={finished[0] / 'reviews'}", cwd=tmp_path)
    assert (tmp_path / "moved" / "plots" / "confusion_matrix.png").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]


def test_a_run_is_scored_on_another_folder_of_texts(finished, here):
    cwd, run, _ = finished
    for label in ("neg", "pos"):
        folder = cwd / "aclImdb" / "test" / label
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(3):
            (folder / f"{number}_7.txt").write_text(f"{label} film {number}<br />")
    said = here("stage=test", f"run={run}", "data.path=aclImdb", "data.classes=[neg,pos]")
    assert "rows" in said and " 6 " in said


@pytest.mark.parametrize("kind", ["csv", "jsonl", "txt", "-"])
def test_predictions_come_row_by_row_in_order(finished, here, kind):
    cwd, run, _ = finished
    texts = ["i loved it, great", "dull and boring", 'a joy, "wonderful"']
    if kind == "csv":
        with (cwd / "in.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["id", "text"], *enumerate(texts)])
    elif kind == "jsonl":
        (cwd / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    elif kind == "txt":
        (cwd / "in.txt").write_text("\n".join(texts) + "\n")
    source = "-" if kind == "-" else f"in.{kind}"
    target = "out.csv" if kind == "csv" else "-"
    arguments = ["stage=predict", f"run={run}", f"stage.input={source}", f"stage.output={target}"]
    given = "\n".join(texts) + "\n"
    said = lmlab(*arguments, cwd=cwd, input=given).stdout if kind == "-" else here(*arguments)
    if kind == "csv":
        rows = list(csv.DictReader(io.StringIO((cwd / "out.csv").read_text())))
    else:
        rows = [json.loads(line) for line in said.splitlines()]
    assert [row["text"] for row in rows] == texts
    for row in rows:
        chances = {name: float(row[name]) for name in ("negative", "positive")}
        assert sum(chances.values()) == pytest.approx(1, abs=1e-5) and row["label"] == max(chances, key=chances.get)


def test_labels_are_not_written_as_lines_of_text(finished, monkeypatch, capsys):
    cwd, run, _ = finished
    monkeypatch.chdir(cwd)
    (cwd / "in.txt").write_text("a joy\n")
    assert front.main(["stage=predict", f"run={run}", "stage.input=in.txt", "stage.output=out.txt"]) == 2
    assert "answers are written as .csv or .jsonl (stage.output=out.txt)" in capsys.readouterr().err
    assert not (cwd / "out.txt").exists()


def test_the_plan_is_told_and_nothing_is_left(tmp_path):
    write_reviews(tmp_path / "reviews")
    done = inside("stage=check", "data=text_files", "data.path=reviews", *TINY, cwd=tmp_path)
    for word in ("parameters", "FLOPs a token", "memory", "steps", "train", "40"):
        assert word in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reviews"]


def test_weights_of_a_run_that_computed_otherwise_are_refused_before_a_folder_is_made(finished, monkeypatch, capsys):
    cwd, run, _ = finished
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(sys, "argv", ["src/run.py"])
    size = next(word for word in TINY if word.startswith("tokenizer.vocab_size"))
    shape = [word for word in TINY if not word.startswith("tokenizer")]
    other = [*shape, "data=text_files", "data.path=reviews", f"weights={run}", "tokenizer=pretrained", size]
    other += ["model.network.activation=gelu_tanh"]
    assert front.main(other) == 76
    told = capsys.readouterr().err
    assert "activation is gelu in the run of the weights and gelu_tanh here" in told and "activation=gelu" in told
    assert only_run(cwd) == run


def test_a_training_that_ends_before_a_validation_has_the_last_one_on_its_curve(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("lmlab.callbacks.plots.learning_curve", lambda table: drawn.append(table) or Figure())
    write_reviews(tmp_path / "reviews")
    words = ["data=text_files", "data.path=reviews", *TINY, "logger=csv", "trainer=cpu", "trainer.max_steps=1"]
    inside(*words, cwd=tmp_path)
    assert drawn[-1]["val/loss"].notna().sum() == 1


def test_a_sweep_makes_a_finished_run_of_each_job(tmp_path):
    write_reviews(tmp_path / "reviews")
    lmlab("-m", "seed=1,2", "data=text_files", "data.path=reviews", *TINY, "trainer=ddp", cwd=tmp_path)
    runs = sorted(path.parent for path in tmp_path.glob("outputs/transformer-text_files/*/manifest.json"))
    assert len(runs) == 2 and len(list(tmp_path.glob("outputs/transformer-text_files/*"))) == 2
    manifests = [json.loads((run / "manifest.json").read_text()) for run in runs]
    assert [m["status"] for m in manifests] == ["finished"] * 2 and {m["seed"] for m in manifests} == {1, 2}
    assert all("as on rank 0" in (run / "run.rank1.log").read_text() for run in runs)
    assert all(len(list(run.glob("wandb/offline-run-*/run-*.wandb"))) == 1 for run in runs)

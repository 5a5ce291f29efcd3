"""Autoencoders: learned, resumed, learned by two processes, drawn from, led from one text to another, classified by."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch

from jobs import inside, lmlab, only_run, write_reviews
from lmlab import checkpointing

SIZES = [
    *("trainer=cpu", "logger=csv", "tokenizer=word", "tokenizer.vocab_size=200", "tokenizer.min_frequency=1"),
    *("model.network.d_model=16", "model.network.d_latent=4", "data.batch_tokens=256", "trainer.log_every_n_steps=1"),
]
JOB = ["task=autoencoding", "data=text_files", *SIZES, "trainer.max_epochs=3", "data.max_length=16"]
JOB += ["task.importance_samples=3", "task.max_new_tokens=12", "callbacks.samples.max_new_tokens=8"]
LABELS = ["data.label_column=label"]  # the texts of a labelled table


@pytest.fixture(scope="module")
def reviews(tmp_path_factory) -> Path:
    return write_reviews(tmp_path_factory.mktemp("texts") / "reviews")


def job(reviews: Path, model: str = "vae") -> list[str]:
    return [f"model={model}", *JOB, *LABELS, f"data.path={reviews}"]


@pytest.fixture(scope="module")
def finished(reviews, tmp_path_factory):
    cwd = tmp_path_factory.mktemp("codes")
    return cwd, only_run(cwd) if inside(*job(reviews), cwd=cwd) else None


def told(run: Path, stage: str = "val") -> dict[str, float]:
    found = json.loads((run / "metrics.json").read_text())[stage]
    return {name.partition("/")[2]: value for name, value in found.items()}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpointing.load(run / "checkpoints" / "last.ckpt")["state_dict"]


def test_the_bound_is_told_and_the_weight_of_a_code_rises(finished):
    _, run = finished
    found = told(run)
    assert found["nll"] == pytest.approx(found["reconstruction"] + found["kl"]) and found["rows"] == 10
    assert found["importance_weighted_nll"] > 0 and 0 <= found["active_units"] <= 4
    with (run / "metrics.csv").open() as file:
        steps = [row for row in csv.DictReader(file) if row["train/loss"]]
    risen = [float(row["train/kl_weight"]) for row in steps]
    assert risen[0] == 0 and risen == sorted(risen) and risen[-1] == 1
    assert sorted((run / "samples").iterdir())


def test_texts_are_drawn_from_the_prior(finished):
    cwd, run = finished
    ask = ["stage=generate", f"run={run}", "stage.n=4", "stage.max_new_tokens=6"]
    drawn = inside(*ask, cwd=cwd).stdout
    assert drawn.count("-" * 20) == 3 and inside(*ask, cwd=cwd).stdout == drawn
    assert inside(*ask, "stage.seed=1", cwd=cwd).stdout != drawn


def test_texts_lie_between_two_texts(finished):
    cwd, run = finished
    ends = ["stage.start=a dull and empty film, isn't it?", "stage.end=a wonderful (warm) film"]
    lines = inside("stage=interpolate", f"run={run}", *ends, "stage.n=5", cwd=cwd).stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["0.00", "0.25", "0.50", "0.75", "1.00"]
    (cwd / "ends.txt").write_text("".join(f"{end.partition('=')[2]}\n" for end in ends))
    inside("stage=predict", f"run={run}", "stage.input=ends.txt", "stage.output=told.jsonl", cwd=cwd)
    answers = [json.loads(line)["output"] for line in (cwd / "told.jsonl").read_text().splitlines()]
    assert [lines[0][6:], lines[-1][6:]] == answers


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["stage=interpolate", "stage.start=a film"], 66, "stage.end"),
        (["stage=interpolate", "stage.start= ", "stage.end=a film"], 66, "stage.start"),
        (["stage=interpolate", "stage.start=a", "stage.end=b", "stage.n=0"], 2, "stage.n: whole number >= 1"),
        (["stage=score"], 2, "Stages that fit this task: stage=test, stage=generate, stage=interpolate"),
    ],
)
def test_a_wrong_question_is_answered_in_one_line(finished, arguments, code, said):
    cwd, run = finished
    done = inside(*arguments, f"run={run}", cwd=cwd, check=False)
    assert done.returncode == code and said in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_resumed_training_ends_with_the_same_weights(reviews, tmp_path):
    more = ["callbacks.checkpoint.every_n_steps=1", "callbacks.checkpoint.keep_last=99", "model.network.deletion=0.1"]
    inside(*job(reviews), *more, "model.annealing=cyclical", "model.cycles=2", cwd=tmp_path)
    run, whole = only_run(tmp_path), tmp_path / "whole"
    shutil.copytree(run, whole)
    later = [path for path in (run / "checkpoints").glob("step-*") if path.name > "step-00000003~"]
    assert later
    for path in [*later, run / "metrics.json"]:
        path.unlink()
    assert "going on from step 3" in inside(f"resume={run}", cwd=tmp_path).stderr
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(run)[name]), name


def test_two_processes_learn_and_score_what_one_does(reviews, tmp_path):
    for number, more in enumerate(([], ["trainer.devices=2", "trainer.strategy=ddp"])):
        run = inside if number == 0 else lmlab
        run(*job(reviews), "model.network.word_dropout=0.3", *more, f"run.output=out{number}", cwd=tmp_path)
    one, two = (next(tmp_path.glob(f"out{number}/*/*/metrics.json")).parent for number in (0, 1))
    for stage in ("val", "test"):
        assert told(two, stage) == pytest.approx(told(one, stage), rel=1e-4)
    assert told(two, "test")["rows"] == 11


def test_an_autoencoder_learns_its_texts_and_has_no_prior(reviews, tmp_path):
    inside(*job(reviews, "autoencoder"), "model.network.encoder=transformer", cwd=tmp_path)
    run = only_run(tmp_path)
    assert not {"kl", "nll"} & told(run).keys() and told(run)["reconstruction"] > 0 and not (run / "samples").exists()
    done = inside("stage=generate", f"run={run}", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "stage=interpolate" in done.stderr


def test_a_classifier_begins_with_the_encoder_of_a_run(finished, reviews):
    cwd, run = finished
    given = ["model=vae", "data=text_files", *LABELS, f"data.path={reviews}", *SIZES, "data.max_length=16"]
    given += [f"weights={run}", "tokenizer=pretrained", "trainer.max_epochs=1", "run.output=classified"]
    done = inside(*[word for word in given if word not in ("tokenizer=word", "tokenizer.min_frequency=1")], cwd=cwd)
    (classified,) = (path.parent for path in cwd.glob("classified/*/*/metrics.json"))
    assert "tensors taken" in done.stderr and "left: log_variance.weight" in done.stderr
    assert told(classified, "test")["rows"] == 11 and weights(classified)["task.head.2.weight"].shape == (2, 4)


def test_a_code_of_no_units_is_for_a_language_model_alone(reviews, tmp_path):
    without = [word for word in SIZES if "d_latent" not in word] + ["model.network.d_latent=0"]
    given = ["stage=check", "model=vae", "data=text_files", *LABELS, f"data.path={reviews}", *without]
    assert "Plan" in inside(*given, "task=autoencoding", cwd=tmp_path).stdout
    done = inside(*given, cwd=tmp_path, check=False)
    assert done.returncode == 2 and "task.d_model: whole number >= 1 expected, got 0" in done.stderr


def test_lines_of_raw_text_are_texts_and_the_family_picks_the_task(tmp_path):
    (tmp_path / "said.txt").write_text("".join(f"a film of {n} parts\n\n" for n in range(60)))
    raw = ["model=vae", "data=tiny_shakespeare", "data.path=said.txt", "data.val_share=0.2", *SIZES]
    inside(*raw, "trainer.max_steps=2", "task.importance_samples=0", "callbacks.samples=null", cwd=tmp_path)
    run = only_run(tmp_path)
    rows = json.loads((run / "manifest.json").read_text())["corpus"]["rows"]
    assert sum(rows.values()) == 60 and told(run)["rows"] == rows["val"] > 5
    assert "importance_weighted_nll" not in told(run)

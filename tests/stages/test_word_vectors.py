"""Word vectors from raw text to the neighbours of a word: learned, resumed, learned by two processes, asked."""

import csv
import random
import shutil
from pathlib import Path

import pytest
import torch

from jobs import inside, lmlab, only_run
from lmlab import checkpointing

ANIMALS, METALS = ["cat", "dog", "cow", "hen", "fox"], ["iron", "zinc", "lead", "gold", "tin"]


FAMILIES = {
    "word2vec": [
        "task=word_vectors",
        "model.network.subsampling=0",
        "model.words_at_once=64",
        "data.batch_tokens=512",
        "optimizer.lr=0.1",
    ],
    "glove": ["task=glove_vectors", "data.batch_tokens=1024", "optimizer.lr=0.2"],
}


def job(text: Path, family: str = "word2vec") -> list[str]:
    return [
        f"model={family}",
        *FAMILIES[family],
        "data=text_files",
        f"data.path={text}",
        "data.label_column=null",
        "data.provides=[text]",
        "tokenizer.min_frequency=1",
        "tokenizer.vocab_size=40",
        "model.network.d_model=8",
        "data.max_length=64",
        "trainer.max_epochs=4",
        "trainer.log_every_n_steps=1",
        "trainer=cpu",
        "logger=csv",
    ]


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    """Sentences of animals, and others of metals."""
    draw = random.Random(0)
    lines = (" ".join(draw.choices(draw.choice((ANIMALS, METALS)), k=8)) for _ in range(900))
    path = tmp_path_factory.mktemp("text") / "said.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module", params=FAMILIES)
def finished(request, text, tmp_path_factory):
    cwd = tmp_path_factory.mktemp("vectors")
    return cwd, only_run(cwd) if inside(*job(text, request.param), cwd=cwd) else None


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpointing.load(run / "checkpoints" / "last.ckpt")["state_dict"]


def test_words_that_stand_together_are_neighbours(finished):
    cwd, run = finished
    done = inside("stage=neighbours", f"run={run}", "stage.words=[Cat,zinc]", "stage.n=4", cwd=cwd)
    rows = [line.split("│")[1:-1] for line in done.stdout.splitlines() if line.startswith("│")]
    assert {row[0].strip() for row in rows} == set(ANIMALS) - {"cat"}
    assert {row[2].strip() for row in rows} == set(METALS) - {"zinc"}
    with (run / "metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert losses[-1] < losses[0] / 1.3


def test_words_that_are_not_known_and_none_at_all(finished):
    cwd, run = finished
    done = inside("stage=neighbours", f"run={run}", "stage.words=[cta]", cwd=cwd, check=False)
    assert done.returncode == 66 and "Did you mean cat?" in done.stderr
    done = inside("stage=neighbours", f"run={run}", cwd=cwd, check=False)
    assert done.returncode == 66 and "stage.words=[good,bad]" in done.stderr


@pytest.mark.parametrize("family", FAMILIES)
def test_a_resumed_training_ends_with_the_same_vectors(text, tmp_path, family):
    more = ["callbacks.checkpoint.every_n_steps=1", "callbacks.checkpoint.keep_last=99", "trainer.max_epochs=1"]
    inside(*(word for word in job(text, family) if "max_epochs" not in word), *more, cwd=tmp_path)
    run, whole = only_run(tmp_path), tmp_path / "whole"
    shutil.copytree(run, whole)
    later = [path for path in (run / "checkpoints").glob("step-*") if path.name > "step-00000003~"]
    assert later
    for path in [*later, run / "metrics.json"]:
        path.unlink()
    assert "going on from step 3" in inside(f"resume={run}", cwd=tmp_path).stderr
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(run)[name]), name


@pytest.mark.parametrize(("family", "told"), [("word2vec", "optimizer=word_vectors"), ("glove", "optimizer=adagrad")])
def test_another_optimizer_is_refused(text, tmp_path, family, told):
    done = inside(*job(text, family), "optimizer=adamw", cwd=tmp_path, check=False)
    assert done.returncode == 2 and told in done.stderr


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_are_not_accumulated(text, tmp_path, family):
    done = inside(*job(text, family), "trainer.accumulate_grad_batches=2", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "accumulate_grad_batches=1" in done.stderr


@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_learn_what_one_does(text, tmp_path, family):
    lmlab(*job(text, family), "trainer.devices=2", "trainer.strategy=ddp", cwd=tmp_path)
    run = only_run(tmp_path)
    done = inside("stage=neighbours", f"run={run}", "stage.words=[cat]", "stage.n=4", cwd=tmp_path)
    rows = [line.split("│")[1:-1] for line in done.stdout.splitlines() if line.startswith("│")]
    assert {row[0].strip() for row in rows} == set(ANIMALS) - {"cat"}

"""Word vectors from raw text to the neighbours of a word: learned, resumed, learned by two processes, asked."""

import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from jobs import inside, lmlab, only_run
from lmlab import checkpointing

ANIMALS, METALS = ["cat", "dog", "cow", "hen", "fox"], ["iron", "zinc", "lead", "gold", "tin"]


def job(text: Path) -> list[str]:
    return [
        "model=word2vec",
        "data=text_files",
        "task=word_vectors",
        f"data.path={text}",
        "data.label_column=null",
        "data.provides=[text]",
        "tokenizer.min_frequency=1",
        "tokenizer.vocab_size=40",
        "model.network.d_model=8",
        "model.network.subsampling=0",
        "model.words_at_once=64",
        "data.batch_tokens=512",
        "data.max_length=64",
        "optimizer.lr=0.1",
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


@pytest.fixture(scope="module")
def finished(text, tmp_path_factory):
    cwd = tmp_path_factory.mktemp("vectors")
    return cwd, only_run(cwd) if inside(*job(text), cwd=cwd) else None


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpointing.load(run / "checkpoints" / "last.ckpt")["state_dict"]


def test_words_that_stand_together_are_neighbours(finished):
    cwd, run = finished
    done = inside("stage=neighbours", f"run={run}", "stage.words=[Cat,zinc]", "stage.n=4", cwd=cwd)
    rows = [line.split("│")[1:-1] for line in done.stdout.splitlines() if line.startswith("│")]
    assert {row[0].strip() for row in rows} == set(ANIMALS) - {"cat"}
    assert {row[2].strip() for row in rows} == set(METALS) - {"zinc"}
    told = json.loads((run / "metrics.json").read_text())["val"]
    assert told["val/loss"] < 6 * 0.69


def test_words_that_are_not_known_and_none_at_all(finished):
    cwd, run = finished
    done = inside("stage=neighbours", f"run={run}", "stage.words=[cta]", cwd=cwd, check=False)
    assert done.returncode == 66 and "Did you mean cat?" in done.stderr
    done = inside("stage=neighbours", f"run={run}", cwd=cwd, check=False)
    assert done.returncode == 66 and "stage.words=[good,bad]" in done.stderr


def test_a_resumed_training_ends_with_the_same_vectors(text, tmp_path):
    more = ["callbacks.checkpoint.every_n_steps=1", "callbacks.checkpoint.keep_last=99", "trainer.max_epochs=1"]
    inside(*(word for word in job(text) if "max_epochs" not in word), *more, cwd=tmp_path)
    run, whole = only_run(tmp_path), tmp_path / "whole"
    shutil.copytree(run, whole)
    later = [path for path in (run / "checkpoints").glob("step-*") if path.name > "step-00000003~"]
    assert later
    for path in [*later, run / "metrics.json"]:
        path.unlink()
    assert "going on from step 3" in inside(f"resume={run}", cwd=tmp_path).stderr
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(run)[name]), name


def test_another_optimizer_is_refused(text, tmp_path):
    done = inside(*job(text), "optimizer=adamw", cwd=tmp_path, check=False)
    assert done.returncode == 2 and "optimizer=word_vectors" in done.stderr


def test_two_processes_learn_what_one_does(text, tmp_path):
    lmlab(*job(text), "trainer.devices=2", "trainer.strategy=ddp", cwd=tmp_path)
    run = only_run(tmp_path)
    done = inside("stage=neighbours", f"run={run}", "stage.words=[cat]", "stage.n=4", cwd=tmp_path)
    rows = [line.split("│")[1:-1] for line in done.stdout.splitlines() if line.startswith("│")]
    assert {row[0].strip() for row in rows} == set(ANIMALS) - {"cat"}

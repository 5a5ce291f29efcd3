"""Word vectors from raw text to the neighbours of a word: learned, resumed, learned by two processes, asked."""

import csv
import json
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
def test_a_training_is_checked_before_it_runs(text, tmp_path, family):
    done = inside("stage=check", *job(text, family), "trainer.batch_tokens=auto", cwd=tmp_path)
    assert "10 of 40 entries" in done.stdout or "15 of 40 entries" in done.stdout


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


def classifier(labelled: Path, *more: str) -> list[str]:
    model = ["model=lstm", "tokenizer=word", "tokenizer.min_frequency=1", "model.network.d_model=8"]
    where = ["data=text_files", f"data.path={labelled}", "data.classes=[animal,metal]", "trainer.max_epochs=1"]
    return [*model, *where, "trainer=cpu", "logger=csv", "trainer.limit_train_batches=1", "optimizer.lr=1e-9", *more]


@pytest.fixture
def labelled(tmp_path) -> Path:
    rows = [f"{kind},{' '.join(words)} zebra\n" for kind, words in (("animal", ANIMALS), ("metal", METALS))]
    path = tmp_path / "rows.csv"
    path.write_text("label,text\n" + "".join(rows * 40))
    return path


@pytest.mark.parametrize("format", ["run", "word2vec", "word2vec_binary", "safetensors"])
def test_vectors_start_another_family(finished, labelled, tmp_path, format):
    _, source = finished
    vectors = words_of(source)
    if format != "run":
        inside("stage=export", f"run={source}", f"stage.format={format}", f"stage.output={tmp_path}/out", cwd=tmp_path)
        (source,) = (tmp_path / "out").iterdir()
    frozen = ["model.network.freeze_embeddings=true", f"model.network.embeddings={source}"]
    done = inside(*classifier(labelled, *frozen), cwd=tmp_path)
    assert "10 of 11 entries begin with its vectors" in done.stderr
    run = only_run(tmp_path)
    table = weights(run)["network.embedding.table.weight"]
    ids = json.loads((run / "tokenizer.json").read_text())["model"]["vocab"]
    for word in (*ANIMALS, *METALS):
        torch.testing.assert_close(table[ids[word]], vectors[word], rtol=1e-5, atol=1e-6)
    inside("stage=test", f"run={run}", cwd=tmp_path)  # needs none of the vectors' files


def words_of(run: Path) -> dict[str, torch.Tensor]:
    state = weights(run)
    table = state["network.embedding.table.weight"]
    if "network.output_bias" in state:  # GloVe
        table = table + state["network.output.weight"]
    ids = json.loads((run / "tokenizer.json").read_text())["model"]["vocab"]
    return {word: table[id] for word, id in ids.items()}


def test_vectors_that_do_not_fit_are_told(finished, labelled, tmp_path):
    _, source = finished
    bad = [
        (f"model.network.embeddings={source}", "model.network.d_model=16", "8 wide and the table 16"),
        (f"model.network.embeddings={source}", "tokenizer=char", "none of the"),
        ("model.network.embeddings=none.txt", "seed=1", "no word vectors"),
        (f"model.network.embeddings={tmp_path}", "seed=1", "no best.ckpt"),
    ]
    for embeddings, more, told in bad:
        words = [word for word in classifier(labelled) if word.partition("=")[0] != more.partition("=")[0]]
        words = [word for word in words if "tokenizer.min" not in word] if "char" in more else words
        done = inside(*words, embeddings, more, cwd=tmp_path, check=False)
        assert done.returncode != 0 and told in done.stderr and "Traceback" not in done.stderr, done.stderr

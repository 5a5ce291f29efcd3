"""Weights and corpora of the hub: fetched over HTTP, of the commit that was asked for, and later without a network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub import serving, sha
from jobs import ROOT, write_reviews

SMALL = ["trainer=cpu", "logger=csv", "trainer.max_steps=2", "data.max_length=24"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two commits of a tiny BERT with its tokenizer, and a data set of labelled reviews."""
    transformers = pytest.importorskip("transformers")
    from lmlab.tokenizer import Tokenizer

    root = tmp_path_factory.mktemp("hub")
    tokenizer = Tokenizer("wordpiece", 300, min_frequency=1)
    write_reviews(root / "datasets" / "some" / "reviews" / "1")
    tokenizer.train((root / "datasets" / "some" / "reviews" / "1" / "train.csv").read_text().splitlines())
    config = transformers.BertConfig(
        vocab_size=300, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512
    )
    for revision in ("1", "2"):
        folder = root / "models" / "some" / "bert" / revision
        transformers.BertModel(config).save_pretrained(folder)
        tokenizer.save(folder / "tokenizer.json")
        (folder / "pytorch_model.bin").write_bytes(b"never fetched")
    return root


def lmlab(cwd: Path, *words: str, endpoint: str | None = None) -> subprocess.CompletedProcess:
    """A run in a process of its own, whose hub is `endpoint`, or that has no network."""
    network = {"HF_ENDPOINT": endpoint} if endpoint else {"HF_HUB_OFFLINE": "1"}
    own = {"HF_HOME": str(cwd / "home"), "OMP_NUM_THREADS": "1", "LMLAB_CACHE": str(cwd / "cache")}
    others = ("HF_HUB_OFFLINE", "PYTHONPATH")  # datasets takes a hidden package for an imported one
    environment = {key: value for key, value in os.environ.items() if key not in others} | own | network
    command = [sys.executable, str(ROOT / "src" / "run.py"), *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=180)


def test_weights_and_a_corpus_come_from_the_hub_and_then_from_its_cache(place, tmp_path):
    fit = ["model=bert_tiny", "tokenizer=pretrained", "tokenizer.vocab_size=300", *SMALL]
    fit += ["data=rotten_tomatoes", "data.source=hub", "data.hub=some/reviews", "data.classes=null"]
    with serving(place) as hub:
        first = lmlab(tmp_path, *fit, f"weights=some/bert@{sha('1')}", "run.id=first", endpoint=hub.url)
        assert first.returncode == 0, first.stderr[-2000:]
        asked = list(hub.asked)
        gone = lmlab(tmp_path, *fit, "weights=some/nothing", endpoint=hub.url)
    assert any(path.endswith(f"/some/bert/resolve/{sha('1')}/model.safetensors") for path in asked)
    assert any("/datasets/some/reviews" in path for path in asked) and not any(".bin" in path for path in asked)
    assert "tensors taken" in first.stderr + first.stdout
    assert gone.returncode == 66 and "'some/nothing'" in gone.stderr and len(gone.stderr.strip().splitlines()) < 4
    again = lmlab(tmp_path, *fit, f"weights=some/bert@{sha('1')}", "run.id=again")
    assert again.returncode == 0, again.stderr[-2000:]
    one, other = (
        (tmp_path / "outputs" / "bert_tiny-rotten_tomatoes" / name / "metrics.json").read_text()
        for name in ("first", "again")
    )
    assert json.loads(one)["val"] == json.loads(other)["val"]

"""Texts that answer texts: one for each, in their order, in every kind of file."""

import csv
import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lmlab.data.corpus import Corpus
from lmlab.decoding import Decoding
from lmlab.models.transformer import Transformer
from lmlab.stages.predict import predict
from lmlab.tasks.seq2seq import Seq2Seq
from lmlab.tokenizer import Tokenizer

TEXTS = ["a dog runs", "", "two cats sleep here", "   ", "a cat"]


class Module(nn.Module):
    device = torch.device("cpu")

    def __init__(self, network, task):
        super().__init__()
        self.network, self.task = network, task


@pytest.fixture
def experiment(tmp_path):
    """What predict asks of one, with weights as they begin."""
    torch.manual_seed(1)
    tokenizer = Tokenizer("word", 40, min_frequency=1)
    tokenizer.train(TEXTS)
    task = Seq2Seq(Decoding(beams=1, max_length=6, temperature=1.0))
    task.tokenizer = tokenizer
    network = Transformer(40, 8, architecture="encoder-decoder", max_length=32, n_heads=2, n_layers=1, d_ff=16)
    return SimpleNamespace(
        run=SimpleNamespace(checkpoints=tmp_path),
        corpus=Corpus(tokenizer=tokenizer, cache=tmp_path / "cache"),
        module=Module(network, task),
        settings={"accelerator": "cpu"},
        load_weights=lambda checkpoint: None,
    )


def test_each_line_is_answered_by_a_line(experiment, tmp_path):
    (tmp_path / "in.txt").write_text("\n".join(TEXTS) + "\n")
    files = {ending: tmp_path / f"out.{ending}" for ending in ("txt", "csv", "jsonl")}
    for file in files.values():
        predict(experiment, str(tmp_path / "in.txt"), str(file), batch_rows=2)
    lines = files["txt"].read_text().split("\n")
    assert len(lines) == len(TEXTS) + 1 and [not line for line in lines] == [False, True, False, True, False, True]
    with files["csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    records = [json.loads(line) for line in files["jsonl"].read_text().splitlines()]
    for found in (rows, records):
        assert [row["text"] for row in found] == TEXTS
        assert [row["output"] for row in found] == lines[:-1]
        assert all(list(row) == ["text", "output", "score"] for row in found)

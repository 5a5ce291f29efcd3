"""Weights that a training begins with: whole or refused in one line, from folders that transformers itself saved."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmlab.errors import CheckpointError, InputMissing, LmlabError
from lmlab.models.bert import Bert
from lmlab.models.gpt2 import GPT2
from lmlab.models.transformer import Transformer
from lmlab.tasks.classification import Classification
from lmlab.weights import load

SIZES = {"n_heads": 4, "n_layers": 2, "d_ff": 64}
transformers = pytest.importorskip("transformers")


def bert(d_model=32, **changes):
    return Bert(60, d_model, **SIZES | changes)


def task():
    return Classification(32, ["bad", "good"])


@pytest.fixture
def folder(tmp_path):
    """As transformers saves a BERT with a head for masked tokens."""
    config = transformers.AutoConfig.for_model(**bert(masked_head=True).config())
    transformers.AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_a_body_is_taken_whole_and_the_report_tells_what_else(folder):
    network = bert(pooling="mean")
    report = load(network, task(), str(folder))
    saved = load_file(folder / "model.safetensors")
    assert torch.equal(network.embedding.weight, saved["bert.embeddings.word_embeddings.weight"])
    assert torch.equal(
        network.encoder.layers[1].attention.qkv.weight[32:64],
        saved["bert.encoder.layer.1.attention.self.key.weight"],
    )
    assert len(report.taken) == len(network.state_dict())
    assert all(name.startswith("cls.") for name in report.left) and len(report.left) == 5
    assert "head.2.weight" in report.new
    assert load(bert(), task(), str(folder)).new[:2] == ["pooler.weight", "pooler.bias"]
    masked = bert(masked_head=True)
    load(masked, torch.nn.Identity(), str(folder))
    assert torch.equal(masked.output.bias, saved["cls.predictions.bias"])


def test_an_encoder_is_enough_for_one_that_also_writes(folder, tmp_path):
    network = bert(architecture="encoder-decoder")
    report = load(network, torch.nn.Identity(), str(folder))
    saved = load_file(folder / "model.safetensors")
    assert torch.equal(network.embedding.weight, saved["bert.embeddings.word_embeddings.weight"])
    assert torch.equal(network.output.bias, saved["cls.predictions.bias"])
    assert report.new and all(name.startswith("decoder.") for name in report.new)
    read = Transformer(60, 32, architecture="encoder", max_length=16, masked_head=True)
    state = {f"network.{name}": tensor.clone() for name, tensor in read.state_dict().items()}
    save_file(state, tmp_path / "read.safetensors")
    both = Transformer(60, 32, architecture="encoder-decoder", max_length=16)
    report = load(both, torch.nn.Identity(), str(tmp_path / "read.safetensors"))
    assert torch.equal(both.encoder.layers[1].feed_forward[0].weight, read.encoder.layers[1].feed_forward[0].weight)
    assert all(name.startswith("decoder.") for name in report.new)
    writes = Transformer(60, 32, architecture="decoder", max_length=16)
    with pytest.raises(CheckpointError, match="without decoder"):
        load(writes, torch.nn.Identity(), str(tmp_path / "read.safetensors"))


def test_a_gpt2_takes_the_first_of_its_positions(tmp_path):
    config = transformers.GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=4, n_positions=32)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    network = GPT2(60, 32, n_heads=4, n_layers=2, max_length=16)
    load(network, torch.nn.Identity(), str(tmp_path))
    saved = load_file(tmp_path / "model.safetensors")
    assert torch.equal(network.positions.weight, saved["transformer.wpe.weight"][:16])


def edit(folder, change):
    file = folder / "model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file)


def layer(state):
    state.pop("bert.encoder.layer.1.output.dense.weight")


def broken(state):
    state["bert.encoder.layer.1.output.dense.weight"][0, 0] = float("nan")


def setting(folder, key, value):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))


def cut(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def pickled(folder):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("network", "damage", "told"),
    [
        (lambda: bert(64), None, "is 60x32 in the weights and 60x64 here .*model.network.d_model=32"),
        (lambda: bert(n_layers=1), None, "with bert.encoder.layer.1.* beside .*model.network.n_layers=2"),
        (lambda: bert(n_layers=3), None, "without encoder.layers.2"),
        (
            lambda: GPT2(60, 32, n_heads=4, n_layers=2),
            None,
            "not the weights of this GPT2: .*These are weights of bert",
        ),
        (bert, lambda folder: edit(folder, layer), "without encoder.layers.1.feed_forward.2.weight"),
        (bert, cut, "not a whole safetensors file"),
        (
            bert,
            lambda folder: (folder / "model.safetensors").write_text("<!DOCTYPE html>404"),
            "the file is a web page",
        ),
        (bert, lambda folder: edit(folder, broken), "not all numbers are finite"),
        (lambda: bert(n_heads=8), None, "num_attention_heads is 4 in the config.json of the weights and 8 here"),
        (bert, lambda folder: (folder / "config.json").write_text("{}"), "config.json holds no settings"),
        (bert, lambda folder: setting(folder, "hidden_act", "relu"), "hidden_act is relu .* and gelu here"),
        (bert, pickled, "pickle files can run any code"),
        (bert, lambda folder: (folder / "model.safetensors").unlink(), "there is no model.safetensors"),
        (bert, lambda folder: shutil.rmtree(folder), "weights= not found"),
    ],
)
def test_other_weights_are_refused_and_nothing_is_half_loaded(folder, network, damage, told):
    if damage:
        damage(folder)
    made = network()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    with pytest.raises(LmlabError, match=told):
        load(made, task(), str(folder))
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items())


def test_a_name_that_is_nowhere_is_told_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputMissing, match="google/no-such-bert.*could not be fetched.*hf download"):
        load(bert(), task(), "google/no-such-bert")
    with pytest.raises(InputMissing, match="the package no-such-package is not installed"):
        load(bert(), task(), "package:no-such-package")
    with pytest.raises(CheckpointError, match="this is not a checkpoint|Another|no manifest|empty"):
        (tmp_path / "some.ckpt").write_bytes(b"0" * 100)
        load(bert(), task(), str(tmp_path / "some.ckpt"))


def test_shards_are_read_together(folder):
    state = load_file(folder / "model.safetensors")
    names = sorted(state)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    (folder / "model.safetensors").unlink()
    for file, some in parts.items():
        save_file({name: state[name] for name in some}, folder / file)
    index = {"weight_map": {name: file for file, some in parts.items() for name in some}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert len(load(bert(pooling="mean"), task(), str(folder)).taken) == len(bert(pooling="mean").state_dict())

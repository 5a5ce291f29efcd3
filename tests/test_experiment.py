"""What a config may call, and what its nodes are without their metadata."""

import json

import hydra
import pytest
import torch

from jobs import lmlab, only_run
from lmlab import check
from lmlab.data.cleaning import HtmlBreaks
from lmlab.errors import ConfigError
from lmlab.experiment import Experiment, instantiate, plain
from lmlab.run_directory import RunDirectory


@pytest.mark.parametrize(
    "target",
    ["builtins.open", "os.system", "torch.load", "pandas.read_pickle", "subprocess.run", "lmlab.experiment.os.system"],
)
def test_a_config_calls_nothing_foreign_at_any_depth(target):
    with pytest.raises(ConfigError, match="not something a config may call"):
        instantiate({"_target_": "lmlab.data.cleaning.Cleaning", "steps": {"evil": {"_target_": target}}})


def test_metadata_is_for_the_checks_alone():
    made = instantiate({"_target_": "lmlab.data.cleaning.HtmlBreaks", "provides": ["text"]}, "data")
    assert isinstance(made, HtmlBreaks)


def test_an_error_of_ours_is_not_wrapped_by_hydra():
    with pytest.raises(ConfigError, match="got 3"):
        instantiate({"_target_": "lmlab.tokenizer.Tokenizer", "kind": "bpe", "vocab_size": 3})


@pytest.mark.parametrize(
    ("typed", "compiled"),
    [
        ([], False),
        (["trainer.compile=true"], True),
        (["trainer.compile=true", "stage=test", "run.folder=outputs"], False),
        (["trainer.compile=true", "model=ngram"], False),
    ],
)
def test_a_training_compiles_the_networks_methods_and_no_name_of_a_weight_changes(typed, compiled, tmp_path):
    with hydra.initialize_config_dir(str(check.CONF), version_base="1.3"):
        config = plain(hydra.compose("config", ["tokenizer.vocab_size=300", *typed]))
    network = Experiment(config, RunDirectory(tmp_path)).module.network
    assert ("encode" in vars(network)) == ("losses" in vars(network)) == compiled
    assert not any("_orig_mod" in name for name in network.state_dict())


@pytest.mark.slow
def test_a_compiled_run_is_tested_without_its_compiler(tmp_path):
    (tmp_path / "text.txt").write_text("a film that is one of many\n" * 200)
    sizes = ["model.network.d_model=16", "model.network.n_heads=2", "model.network.n_layers=1", "data.max_length=32"]
    sizes += ["data.batch_tokens=256", "data.eval_batch_tokens=256", "data.test_share=0.1"]
    typed = ["model=gpt2", "data=tiny_shakespeare", "data.path=text.txt", "tokenizer=byte", *sizes, "trainer=cpu"]
    lmlab(*typed, "trainer.compile=true", "trainer.max_steps=3", cwd=tmp_path)
    run = only_run(tmp_path)
    scores = json.loads((run / "metrics.json").read_text())["test"]
    lmlab("stage=test", f"run={run}", cwd=tmp_path)
    (again,) = (value for name, value in json.loads((run / "metrics.json").read_text()).items() if "test on" in name)
    assert again["test/loss"] == pytest.approx(scores["test/loss"], rel=1e-5)
    weights = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert "network.embedding.table.weight" in weights

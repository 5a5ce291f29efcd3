"""A run as an ONNX graph: onnxruntime answers as the run does, for any number of rows of any length."""

import sys

import jaxtyping
import pytest
import torch

import run as front
from jobs import write_reviews
from lmlab.check import read_config
from lmlab.errors import LmlabError
from lmlab.experiment import Experiment
from lmlab.run_directory import RunDirectory
from lmlab.stages import onnx

onnxruntime = pytest.importorskip("onnxruntime")

SHORT = ["trainer=cpu", "logger=csv", "trainer.max_steps=2", "data.max_length=48", "tokenizer.vocab_size=300"]
LAYERS = ["model.network.d_model=16", "model.network.n_heads=2", "model.network.n_layers=2"]
RUNS = {
    "bert_tiny": ["task=classification", "data.path=reviews"],
    "gpt2_mini": ["task=causal_lm", "data.path=play.txt", "data.test_share=0.0"],
    "transformer": ["task=classification", "data.path=reviews", "task.ngram_orders=[]"],
}


@pytest.fixture(autouse=True)
def exportable():
    """No checks of shapes, which are no part of a graph."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["src/run.py"])
        return front.main(arguments), *capsys.readouterr()

    write_reviews(tmp_path / "reviews")
    (tmp_path / "play.txt").write_text("To be, or not to be, that is the question.\n" * 80)
    return call


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", RUNS)
def test_onnxruntime_answers_as_the_run_does(model, here, tmp_path):
    code, _, said = here(f"model={model}", "data=text_files", *RUNS[model], *SHORT, *LAYERS)
    assert code == 0, said
    (folder,) = (path.parent for path in tmp_path.glob("outputs/*/*/manifest.json"))
    code, told, said = here("stage=export", f"run={folder}", "stage.format=onnx", "stage.output=graph")
    assert code == 0 and "model.onnx" in told and "tokenizer.json" in told, said
    session = onnxruntime.InferenceSession(tmp_path / "graph" / "model.onnx")
    experiment = Experiment(read_config(str(folder)), RunDirectory(folder))
    experiment.corpus.tokenizer.load(folder / "tokenizer.json")
    experiment.load_weights(folder / "checkpoints" / "best.ckpt")
    module = experiment.module.eval()
    for texts in (["a film"], ["to be or not to be", "the question is", "a"]):
        batch = experiment.corpus.batch(texts)
        fed = {name: batch[name].numpy() for name in ("tokens", "mask")}
        fed = {one.name: fed[one.name] for one in session.get_inputs()}
        with torch.inference_mode():
            torch.testing.assert_close(
                torch.from_numpy(session.run(None, fed)[0]), module.task(module.network, batch), atol=1e-4, rtol=1e-4
            )
    if model == "bert_tiny":
        assert session.get_modelmeta().custom_metadata_map["classes"].split("\n") == ["negative", "positive"]
        with torch.no_grad(), pytest.raises(LmlabError, match="other than the run does"):
            inputs = onnx.inputs(experiment, 2, 5)
            onnx.refuse_difference(
                tmp_path / "graph" / "model.onnx", [(inputs, onnx.Answer(module.network, module.task)(*inputs) + 1)]
            )

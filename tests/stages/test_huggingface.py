"""A run handed on as a folder of Hugging Face's: transformers loads it and answers as the run does, and so do we."""

import json
import math
import sys

import pytest
import torch
from safetensors.torch import load_file

import run as front
from jobs import write_reviews
from lmlab.check import read_config
from lmlab.errors import CheckpointError
from lmlab.experiment import Experiment
from lmlab.run_directory import RunDirectory

transformers = pytest.importorskip("transformers")

SHAPE = ["trainer=cpu", "logger=csv", "trainer.max_steps=2", "data.max_length=48", "tokenizer.vocab_size=300"]
FAMILIES = {
    "bert_tiny": ["tokenizer=wordpiece"],
    "roberta": ["tokenizer=bpe", "model.network.n_layers=2", "model.network.d_model=32", "model.network.n_heads=2"],
    "gpt2_mini": ["tokenizer=bpe", "model.network.n_layers=2"],
}
TASKS = {
    "classification": ("bert_tiny", "roberta", "gpt2_mini"),
    "masked_lm": ("bert_tiny", "roberta"),
    "causal_lm": ("gpt2_mini",),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("handed")
    write_reviews(cwd / "reviews")
    (cwd / "play.txt").write_text("To be, or not to be, that is the question.\nAsk the sea, or ask it not.\n" * 80)
    return cwd


@pytest.fixture
def here(place, monkeypatch, capsys):
    """`python src/run.py ...` in this process and in that folder: what it said; a failure fails the test."""

    def call(*arguments: str) -> str:
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "argv", ["src/run.py"])
        code = front.main(arguments)
        out, said = capsys.readouterr()
        assert code == 0, said
        return out

    return call


def finished(folder):
    experiment = Experiment(read_config(str(folder)), RunDirectory(folder))
    experiment.corpus.tokenizer.load(folder / "tokenizer.json")
    experiment.load_weights(folder / "checkpoints" / "best.ckpt")
    return experiment


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("task", "model"), [(task, model) for task, models in TASKS.items() for model in models])
def test_transformers_answers_as_the_run_does_and_the_weights_come_back(task, model, place, here):
    name = f"{model}-{task}"
    path = "reviews" if task == "classification" else "play.txt"
    words = [f"model={model}", "data=text_files", f"data.path={path}", f"task={task}", f"run.id={name}"]
    here(*words, *FAMILIES[model], *SHAPE)
    (folder,) = place.glob(f"outputs/*/{name}")
    assert "README.md" in here("stage=export", f"run={folder}", f"stage.output={name}")
    out = place / name
    theirs, told = transformers.AutoModel.from_pretrained(out, output_loading_info=True)
    assert not told["missing_keys"] or all("pooler" in key for key in told["missing_keys"])
    architecture = json.loads((out / "config.json").read_text())["architectures"][0]
    theirs = getattr(transformers, architecture).from_pretrained(out).eval()
    experiment = finished(folder)
    network = experiment.module.network.eval()
    network_head = experiment.module.task.eval()
    theirs_tokens = transformers.AutoTokenizer.from_pretrained(out)
    text = "A great film, and a long one."
    ids = theirs_tokens(text, add_special_tokens=False)["input_ids"]
    assert ids == experiment.corpus.tokenizer.encode([text])[0] and theirs_tokens.sep_token_id == 3
    tokens = torch.tensor([[2, *ids, 3]])
    with torch.inference_mode():
        answer = theirs(input_ids=tokens)
        mask = torch.ones_like(tokens, dtype=torch.bool)
        states = network.encode(tokens, mask)
        if architecture.endswith("ForSequenceClassification"):
            expected = network_head.head(network.pool(states, mask))
            assert theirs.config.id2label == dict(enumerate(network_head.classes))
        else:
            expected = states if task == "classification" else network.logits(states)
        torch.testing.assert_close(answer[0], expected, atol=1e-5, rtol=1e-5)
    assert ("head.safetensors" in {file.name for file in out.iterdir()}) == (
        model == "gpt2_mini" and task == "classification"
    )
    alone, pair = theirs_tokens(text), theirs_tokens(text, "Yes.")
    if task == "causal_lm":
        assert alone["input_ids"] == ids
    else:
        begin, end = ([2], []) if task == "classification" else ([3], [3])
        assert alone["input_ids"] == [*begin, *ids, *end]
        second = [0] * (len(begin) + len(ids) + 1) + [1] * (len(pair["input_ids"]) - len(begin) - len(ids) - 1)
        assert pair.get("token_type_ids") == (second if model == "bert_tiny" else None)
        assert pair["input_ids"][len(begin) + len(ids)] == 3
    theirs.save_pretrained(place / f"{name}-again")
    one, other = (load_file(some / "model.safetensors") for some in (out, place / f"{name}-again"))
    assert all(torch.equal(tensor, one[key]) for key, tensor in other.items() if key in one)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    ours, _, missing = network.published.to_ours(other, network.state_dict())
    assert not [key for key in missing if not key.startswith("pooler")]
    assert all(torch.equal(tensor, before[key][-len(tensor) :]) for key, tensor in ours.items())  # used positions alone
    card = (out / "README.md").read_text()
    assert f"# {architecture}" in card and "model=" in card and "| val/" in card


@pytest.mark.filterwarnings("ignore")
def test_a_masked_model_scores_a_text_by_masking_each_of_its_tokens(place, here):
    words = ["model=bert_tiny", "data=text_files", "data.path=play.txt", "task=masked_lm", "run.id=scored"]
    here(*words, *SHAPE, "tokenizer=wordpiece", "model.network.max_positions=48")
    (folder,) = place.glob("outputs/*/scored")
    texts = ["Ask the sea.", "", "To be, or not to be. " * 20]
    (place / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    answers = [
        json.loads(line) for line in here("stage=score", f"run={folder}", "stage.input=texts.jsonl").splitlines()
    ]
    experiment = finished(folder)
    module, tokenizer = experiment.module.eval(), experiment.corpus.tokenizer
    ids = tokenizer.encode(texts)
    assert [row["tokens"] for row in answers] == [len(text) for text in ids] and len(ids[2]) > 48
    total = 0.0
    with torch.inference_mode():
        for place_of, token in enumerate(ids[0], start=1):
            read = torch.tensor([[3, *ids[0], 3]])
            read[0, place_of] = tokenizer.mask_id
            states = module.network.encode(read, torch.ones_like(read, dtype=torch.bool))
            total += float(module.network.logits(states)[0, place_of].log_softmax(-1)[token])
    assert answers[0]["pseudo_log_likelihood"] == pytest.approx(total, rel=1e-4)
    assert answers[0]["pseudo_perplexity"] == pytest.approx(math.exp(-total / len(ids[0])), rel=1e-4)
    assert answers[1]["pseudo_log_likelihood"] == 0


@pytest.mark.filterwarnings("ignore")
def test_a_pretraining_is_fine_tuned_on_another_task_with_its_tokenizer(place, here, capsys, monkeypatch):
    shape = [word for word in SHAPE if not word.startswith("tokenizer")]
    first = ["model=bert_tiny", "data=text_files", "data.path=play.txt", "task=masked_lm", "run.id=before"]
    here(*first, *SHAPE, "tokenizer=wordpiece")
    (before,) = place.glob("outputs/*/before")
    after = ["model=bert_tiny", "data=text_files", "data.path=reviews", "tokenizer=pretrained", f"weights={before}"]
    runs = set(place.glob("outputs/*/*"))
    assert front.main([*after, *shape]) == CheckpointError.exit_code
    assert set(place.glob("outputs/*/*")) == runs  # told before a folder was made
    assert "with tokenizer.vocab_size=300 model.network.d_model=128" in capsys.readouterr().err
    here(*after, *shape, "tokenizer.vocab_size=300", "optimizer.lr=1e-9", "run.id=after")
    (folder,) = place.glob("outputs/*/after")
    assert (folder / "tokenizer.json").read_text() == (before / "tokenizer.json").read_text()
    begun, learned = (finished(some).module.network.state_dict() for some in (before, folder))
    shared = [name for name in learned if name in begun]
    assert len(shared) == len(learned) - 2  # all but the pooler
    assert all(torch.allclose(begun[name], learned[name], atol=1e-6) for name in shared)
    assert "accuracy" in here("stage=test", f"run={folder}")

"""Families of transformers as networks: their own states, logits and texts, in runs that need their folder alone."""

import json
import re
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import run as front
from jobs import ROOT, write_reviews
from lmlab.check import read_config
from lmlab.errors import CheckpointError, ConfigError, LmlabError
from lmlab.generate import continuations
from lmlab.models.hf import HuggingFace
from lmlab.nn.lora import adapt, merged
from lmlab.optimizers import depths, freeze
from lmlab.tokenizer import Tokenizer
from lmlab.weights import load

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = {"hidden_size": 32, "num_hidden_layers": 2}
BERT = SMALL | {"num_attention_heads": 4, "intermediate_size": 64}
SIZES = {
    "bert": BERT,
    "roberta": BERT | {"max_position_embeddings": 34, "type_vocab_size": 1},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "t5": {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 64},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "llama": BERT | {"num_key_value_heads": 2},
    "qwen2": BERT | {"num_key_value_heads": 2},
    "opt": BERT | {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "mixtral": BERT | {"num_key_value_heads": 2, "num_local_experts": 2},
}
MASKED, CAUSAL = ("bert", "roberta", "distilbert"), ("gpt2", "llama", "qwen2", "opt", "mixtral")
ENCODERS = (*MASKED, "t5", "gpt2", "llama")


def config(kind, **changes):
    return {"model_type": kind, **SIZES.get(kind, SMALL), **changes}


def network(kind, side="encoder", **options):
    return HuggingFace(60, 32, architecture=side, max_length=32, config_json=config(kind), **options).eval()


def saved(kind, auto, folder):
    """A model of theirs, every weight drawn at random, and its folder."""
    model = getattr(transformers, auto).from_config(transformers.AutoConfig.for_model(**config(kind, vocab_size=60)))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return model.eval()


def batch():
    tokens, mask = torch.randint(5, 60, (3, 12)), torch.ones(3, 12, dtype=torch.bool)
    mask[1, 7:], tokens[1, 7:] = False, 1
    return tokens, mask


def auto_of(kind):
    return "AutoModelForMaskedLM" if kind in MASKED else "AutoModelForCausalLM" if kind in CAUSAL else "AutoModel"


@pytest.mark.parametrize("kind", ENCODERS)
def test_states_of_published_weights_are_those_of_transformers(kind, tmp_path):
    saved(kind, auto_of(kind), tmp_path)
    whole = transformers.AutoModel.from_pretrained(tmp_path).eval()
    theirs = whole.encoder if kind == "t5" else whole
    ours = network(kind)
    report = load(ours, torch.nn.Identity(), str(tmp_path))
    assert set(report.taken) == set(ours.state_dict()) and not report.new
    tokens, mask = batch()
    states = ours.encode(tokens, mask)
    expected = theirs(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(states[mask], expected[mask], atol=1e-5, rtol=1e-5)
    alone = ours.pool(ours.encode(tokens[1:2, :7], mask[1:2, :7]), mask[1:2, :7])
    torch.testing.assert_close(ours.pool(states, mask)[1:2], alone, atol=1e-5, rtol=1e-5)
    assert ours.pooling == ("last" if kind in CAUSAL else "mean")


def test_segments_tell_the_texts_of_a_pair_apart(tmp_path):
    theirs = saved("bert", "AutoModel", tmp_path)
    ours = network("bert")
    load(ours, torch.nn.Identity(), str(tmp_path))
    tokens, mask = batch()
    segments = (torch.arange(12) > 5).long().expand(3, -1)
    told = {"attention_mask": mask.long(), "token_type_ids": segments}
    expected = theirs(input_ids=tokens, **told).last_hidden_state
    torch.testing.assert_close(ours.encode(tokens, mask, segments)[mask], expected[mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", MASKED)
def test_logits_and_gradients_of_masked_tokens_are_those_of_transformers(kind, tmp_path):
    theirs = saved(kind, "AutoModelForMaskedLM", tmp_path)
    ours = network(kind, masked_head=True)
    report = load(ours, torch.nn.Identity(), str(tmp_path))
    assert not report.new and not report.left
    tokens, mask = batch()
    logits = ours.logits(ours.encode(tokens, mask))
    expected = theirs(input_ids=tokens, attention_mask=mask.long()).logits
    torch.testing.assert_close(logits[mask], expected[mask], atol=1e-4, rtol=1e-4)
    logits[mask].logsumexp(-1).sum().backward()
    expected[mask].logsumexp(-1).sum().backward()
    one, other = (model.get_input_embeddings().weight.grad for model in (ours.body, theirs))
    torch.testing.assert_close(one[5:], other[5:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", CAUSAL)
def test_texts_are_those_of_transformers_with_a_cache_and_without(kind, tmp_path):
    theirs = saved(kind, "AutoModelForCausalLM", tmp_path)
    ours = network(kind, "decoder")
    assert not load(ours, torch.nn.Identity(), str(tmp_path)).new
    tokens, _ = batch()
    states = ours.decode(tokens)
    torch.testing.assert_close(ours.logits(states), theirs(input_ids=tokens).logits, atol=1e-4, rtol=1e-4)
    cache = {}
    parts = [ours.decode(tokens[:, :5], cache=cache), ours.decode(tokens[:, 5:8] * 0, cache=cache)]
    cache["length"] = 5  # what came after it is forgotten
    parts = [parts[0], *(ours.decode(tokens[:, t : t + 1], cache=cache) for t in range(5, 12))]
    torch.testing.assert_close(torch.cat(parts, 1), states, atol=1e-4, rtol=1e-4)
    options = {"vocabulary": 60, "max_new_tokens": 10, "temperature": 0, "stop": (), "never": ()}
    written = theirs.generate(tokens[:1], max_new_tokens=10, min_new_tokens=10, do_sample=False, eos_token_id=None)
    assert ours.rewinds
    for lookup in (0, 4):
        assert continuations(ours, tokens[:1].tolist(), lookup=lookup, **options) == [written[0, 12:].tolist()]


def test_a_sliding_window_is_not_rewound():
    windowed = config("qwen2", use_sliding_window=True, sliding_window=4, max_window_layers=0)
    assert not HuggingFace(60, architecture="decoder", max_length=32, config_json=windowed).rewinds


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("bert", {"architecture": "decoder"}, "bert reads both ways.*task=masked_lm"),
        ("t5", {"architecture": "decoder"}, "t5 has no model for next tokens"),
        ("llama", {"masked_head": True}, "llama has no model for masked tokens"),
        ("fnet", {}, "fnet sees what its mask hides"),
        ("mamba", {"architecture": "decoder"}, "mamba keeps no keys and values"),
        ("roberta", {"max_length": 33}, "texts of 33 tokens, and positions for 32"),
        ("bert", {"d_model": 64}, "d_model is 64, and model.network.config says 32"),
        ("bert", {"config": {"num_attention_heads": 5}}, "transformers refuses it: .*multiple"),
        ("bert", {"config": {"hiden_size": 5}}, "has no 'hiden_size' .*Did you mean hidden_size?"),
        ("bert", {"config": {"model_type": "brt"}}, "no model_type 'brt' .*Did you mean bert?"),
        ("bert", {"config": {"num_attention_heads": -1}}, "transformers refuses it: "),
    ],
)
def test_what_cannot_be_built_is_told_in_one_line(kind, options, told):
    options = {"architecture": "encoder", "max_length": 16, **options}
    with pytest.raises(ConfigError, match=told):
        HuggingFace(60, **options | {"config": config(kind) | options.pop("config", {})})


def edited(change):
    def edit(folder):
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors")

    return edit


def pickled(folder):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (edited(lambda state: state.pop("bert.encoder.layer.1.output.dense.weight")), "without body.encoder.layer.1."),
        (edited(lambda state: state.update({"bert.encoder.layer.7.x": torch.ones(1)})), "with .*layer.7.x beside"),
        (edited(lambda state: state.update({"bert.pooler.dense.weight": torch.ones(32, 32)})), None),
        (
            edited(lambda state: state.update({"bert.embeddings.word_embeddings.weight": torch.ones(70, 32)})),
            "is 70x32 in the weights and 60x32 here .*tokenizer.vocab_size=70",
        ),
        (pickled, "pickle files can run any code"),
    ],
)
def test_weights_are_taken_whole_or_not_at_all(damage, told, tmp_path):
    saved("bert", "AutoModelForMaskedLM", tmp_path)
    damage(tmp_path)
    ours = network("bert")
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    if told is None:
        assert load(ours, torch.nn.Identity(), str(tmp_path)).left
        return
    with pytest.raises(LmlabError, match=told):
        load(ours, torch.nn.Identity(), str(tmp_path))
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize("kind", [kind for kind in SIZES if kind != "gpt2"])
def test_a_low_rank_change_is_learned_beside_and_merged(kind):
    ours, plain = network(kind), network(kind)
    begun = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    adapt(ours, 2, 4.0)
    tokens, mask = batch()
    learned = [parameter for parameter in ours.parameters() if parameter.requires_grad]
    assert learned and not any(name in begun for name, p in ours.named_parameters() if p.requires_grad)
    for parameter in learned:
        torch.nn.init.normal_(parameter, std=0.3)
    state = merged(ours.state_dict())
    plain.load_state_dict(state)
    assert any(not torch.equal(state[name], tensor) for name, tensor in begun.items())
    torch.testing.assert_close(plain.encode(tokens, mask), ours.encode(tokens, mask), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", SIZES)
def test_what_is_handed_on_comes_back_as_it_was(kind, tmp_path):
    ours = network(kind, "decoder" if kind in CAUSAL else "encoder", masked_head=kind in MASKED)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    ours.published.model(ours.state_dict()).save_pretrained(tmp_path)
    again = network(kind, "decoder" if kind in CAUSAL else "encoder", masked_head=kind in MASKED)
    report = load(again, torch.nn.Identity(), str(tmp_path))
    assert not report.new and not report.left
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in ours.state_dict().items())


def test_what_has_no_maps_or_layers_is_told():
    with pytest.raises(ConfigError, match="no linear maps in layers .*Set it to 0"):
        adapt(network("gpt2"), 2, 4.0)
    with pytest.raises(ConfigError, match="3 layers are to stay as they are, and 2 are known by name"):
        freeze(network("bert"), 3)


@pytest.mark.parametrize("kind", ["bert", "llama", "t5"])
def test_activations_that_are_computed_twice_change_no_gradient(kind):
    ours = network(kind).train()
    tokens, mask = batch()
    gradients = []
    for again in (False, True):
        if again:
            ours.recompute()
        torch.manual_seed(1)
        ours.zero_grad()
        ours.encode(tokens, mask).logsumexp(-1).sum().backward()
        gradients.append([parameter.grad for parameter in ours.parameters()])
    assert ours.body.is_gradient_checkpointing
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", SIZES)
def test_layers_are_told_apart(kind):
    ours = network(kind)
    names = {id(parameter): name for name, parameter in ours.named_parameters()}
    found = {}
    for key, depth in depths(ours).items():
        found.setdefault(depth, []).append(names[key])
    assert any("1." in name for name in found[2]) and all("0." in name for name in found[1])
    assert all(re.search("embed|wte|wpe|shared", name) for name in found[0])
    assert all("norm" in name or "ln_f" in name for name in found.get(3, []))


# whole runs, from the command line

README = (ROOT / "README.md").read_text(encoding="utf-8")
PUBLISHED = next(line for line in README.splitlines() if "run.py" in line and "model=hf" in line).split()[2:]
HUB = next(word.removeprefix("weights=") for word in PUBLISHED if word.startswith("weights="))
SHORT = ["trainer=cpu", "logger=csv", "data.max_length=24", "data.batch_tokens=192", "trainer.log_every_n_steps=1"]
PLAY = ["data=text_files", "data.path=play.txt", "data.val_share=0.2", "data.test_share=0.1"]
SCRATCH = ["tokenizer=bpe", "tokenizer.vocab_size=300"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Texts, and a DistilBERT with its tokenizer in a folder that is called what the README's is called on the hub."""
    cwd = tmp_path_factory.mktemp("hf")
    write_reviews(cwd / "reviews")
    (cwd / "play.txt").write_text("To be, or not to be, that is the question.\nAsk the sea, or ask it not.\n" * 60)
    tokenizer = Tokenizer("wordpiece", 300, min_frequency=1)
    tokenizer.train((cwd / "reviews" / "train.csv").read_text().splitlines())
    described = transformers.AutoConfig.for_model(**config("distilbert", vocab_size=300))
    transformers.AutoModelForMaskedLM.from_config(described).save_pretrained(cwd / HUB)
    tokenizer.save(cwd / HUB / "tokenizer.json")
    return cwd


@pytest.fixture
def here(place, monkeypatch, capsys):
    """`python src/run.py ...` in this process and in that folder: its exit code, what it printed, what it said."""

    def call(*arguments):
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "argv", ["src/run.py"])
        return front.main(arguments), *capsys.readouterr()

    return call


def run_of(place, name):
    (folder,) = place.glob(f"outputs/*/{name}")
    return folder


def metrics(folder, split):
    return json.loads((folder / "metrics.json").read_text())[split]


def losses(folder):
    lines = (folder / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("train/loss")
    return [float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]]


def test_a_classifier_needs_its_run_folder_alone_and_goes_on_exactly(place, here):
    shutil.copytree(place / HUB, place / "kept")
    steps = ["callbacks.checkpoint.every_n_steps=1", "callbacks.checkpoint.keep_last=99", "trainer.max_epochs=4"]
    own = ["optimizer.lr=5e-3", "model.network.config={attention_dropout: 0.2}", "data.path=reviews"]
    code, _, said = here(*PUBLISHED, *SHORT, *steps, *own, "run.id=first")
    assert code == 0 and "tensors taken" in said, said
    run = run_of(place, "first")
    assert read_config(str(run))["model"]["network"]["config_json"]["attention_dropout"] == 0.2
    assert sum(losses(run)[-5:]) < sum(losses(run)[:5])
    shutil.rmtree(place / HUB)
    code, _, said = here("stage=test", f"run={run}")
    assert code == 0, said
    scored = next(value for name, value in json.loads((run / "metrics.json").read_text()).items() if "test on" in name)
    assert scored == pytest.approx(metrics(run, "test"))
    (place / "new.txt").write_text("a wonderful film\n")
    code, told, _ = here("stage=predict", f"run={run}", "stage.input=new.txt")
    assert code == 0 and json.loads(told)["label"] in ("negative", "positive")
    code, said, _ = here("stage=export", f"run={run}", "stage.output=handed")
    assert code == 0 and "head.safetensors" in said
    handed = transformers.AutoModel.from_pretrained(place / "handed").state_dict()
    best = load_file(run / "checkpoints" / "best.safetensors")
    assert handed and all(torch.equal(best[f"network.body.{name}"], tensor) for name, tensor in handed.items())
    assert transformers.AutoTokenizer.from_pretrained(place / "handed").pad_token_id is not None
    whole = run.with_name("whole")
    shutil.copytree(run, whole, symlinks=True)
    for file in run.glob("checkpoints/*"):
        if file.is_symlink() or not re.match(r"step-0*[1-9]\D", file.name):
            file.unlink()
    code, _, said = here(f"resume={run}", "model=hf", "model.layer_decay=0.9", "tokenizer=pretrained", *own)
    assert code == 0 and "going on from step 9" in said, said
    one, other = (
        torch.load(some / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for some in (whole, run)
    )
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert losses(run) == losses(whole)
    shutil.move(place / "kept", place / HUB)


def test_a_writer_from_scratch_needs_its_run_folder_alone(place, here):
    (place / "sizes.json").write_text(json.dumps(config("llama") | {"_name_or_path": "x", "architectures": ["x"]}))
    words = ["model=hf", *PLAY, "task=causal_lm", *SHORT, *SCRATCH, "model.network.config=sizes.json", "run.id=writer"]
    code, _, said = here(*words, "trainer.max_epochs=4", "optimizer.lr=5e-3", "callbacks.samples.max_new_tokens=5")
    assert code == 0, said
    run = run_of(place, "writer")
    assert losses(run)[-1] < losses(run)[0] - 1
    (place / "sizes.json").unlink()
    asked = ["stage.prompt=To be", "stage.max_new_tokens=6", "stage.temperature=0"]
    code, ahead, said = here("stage=generate", f"run={run}", *asked)
    _, plain, _ = here("stage=generate", f"run={run}", *asked, "stage.lookup=0")
    assert code == 0 and ahead == plain != "To be\n", said
    (place / "texts.txt").write_text("To be, or not to be\n")
    code, told, said = here("stage=score", f"run={run}", "stage.input=texts.txt")
    assert code == 0 and json.loads(told)["log_probability"] < 0, said
    code, told, said = here("stage=test", f"run={run}")
    assert code == 0 and "perplexity" in told, said


def test_a_pretraining_is_fine_tuned(place, here):
    masked = ["model=hf", *PLAY, "task=masked_lm", *SHORT, *SCRATCH, "trainer.max_steps=2", "run.id=before"]
    code, _, said = here(*masked, f"model.network.config={{model_type: roberta, {flat(SIZES['roberta'])}}}")
    assert code == 0, said
    before = run_of(place, "before")
    (place / "line.txt").write_text("To be, or not to be\n")
    code, told, said = here("stage=score", f"run={before}", "stage.input=line.txt")
    assert code == 0 and json.loads(told)["pseudo_log_likelihood"] < 0, said
    tuned = ["model=hf", "data=text_files", "data.path=reviews", f"weights={before}", "tokenizer=pretrained", *SHORT]
    code, _, said = here(*tuned, "trainer.max_steps=2", "optimizer.lr=1e-9", "model.lora_rank=2", "run.id=after")
    assert code == 0, said
    begun, learned = (
        torch.load(run_of(place, name) / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        for name in ("before", "after")
    )
    body = [name for name in learned if name.startswith("network.body.") and "low_rank" not in name]
    assert len(body) > 20 and all(torch.equal(begun[name], learned[name]) for name in body)


def flat(sizes):
    return ", ".join(f"{key}: {value}" for key, value in sizes.items())


def without_config(folder):
    (folder / "config.json").unlink()


def of_nobody(folder):
    described = json.loads((folder / "config.json").read_text())
    described |= {"model_type": "our_own_family", "auto_map": {"AutoModel": "x.Y"}}
    (folder / "config.json").write_text(json.dumps(described))


@pytest.mark.parametrize(
    ("damage", "code", "told"),
    [
        (pickled, 76, "pickle files can run any code"),
        (
            edited(lambda state: state.pop("distilbert.transformer.layer.0.ffn.lin1.bias")),
            76,
            "without body.transformer",
        ),
        (
            of_nobody,
            2,
            "no model_type 'our_own_family' (model.network.config). Code that comes with weights is never run.",
        ),
        (without_config, 66, "there is no config.json beside the weights"),
        (shutil.rmtree, 66, "weights"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told_in_one_line(damage, code, told, place, here, tmp_path):
    shutil.copytree(place / HUB, tmp_path / "other")
    damage(tmp_path / "other")
    words = [word for word in PUBLISHED if not word.startswith("weights=")]
    got, _, said = here(*words, f"weights={tmp_path / 'other'}", *SHORT, "data.path=reviews")
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert got == code and told in line, said


def test_what_is_missing_is_told_in_one_line(place, here, monkeypatch):
    code, _, said = here("model=hf", *SHORT, "data.path=reviews")
    assert code == 2 and "Add weights=" in said and "model.network.config=<config.json>" in said
    monkeypatch.setitem(sys.modules, "transformers", None)
    code, _, said = here(*PUBLISHED, *SHORT, "data.path=reviews")
    assert code == 2 and said == "error: model=hf needs transformers (model). pip install -e '.[hf]'.\n"


def test_weights_of_another_family_are_refused(place, here, tmp_path):
    (tmp_path / "config.yaml").write_text("model: {network: {_target_: lmlab.models.bert.Bert}}")
    code, _, said = here("model=hf", "tokenizer=pretrained", f"weights={tmp_path}", "data.path=reviews", *SHORT)
    assert code == CheckpointError.exit_code and "these are weights of lmlab's own Bert" in said

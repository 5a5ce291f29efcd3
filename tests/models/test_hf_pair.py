"""Encoder-decoders of transformers as networks: their own logits, gradients and texts."""

import json

import pytest
import torch

from jobs import inside, only_run, write_pairs
from lmlab.check.signatures import signature
from lmlab.decoding import Decoding, Reader
from lmlab.errors import CheckpointError, ConfigError
from lmlab.experiment import complete, instantiate, plain
from lmlab.models.hf import HuggingFace
from lmlab.models.hf_pair import HuggingFacePair
from lmlab.nn.lora import adapt, merged
from lmlab.optimizers import depths
from lmlab.stages.huggingface import writing
from lmlab.tokenizer import Tokenizer
from lmlab.weights import load
from test_configs import compose

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")

VOCABULARY, PAD, STOP = 30, 1, 2
T5 = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 64, "pad_token_id": PAD}
LAYERS = {"layers": 2, "attention_heads": 4, "ffn_dim": 64}
BART = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in LAYERS.items()}
BART |= {"d_model": 32, "max_position_embeddings": 40, "pad_token_id": PAD, "eos_token_id": STOP}
BART |= {"forced_eos_token_id": None}
CONFIGS = {
    "t5": {"model_type": "t5", **T5},
    "flan": {"model_type": "t5", **T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "bart": {"model_type": "bart", **BART},
    "marian": {"model_type": "marian", **BART, "decoder_start_token_id": PAD, "scale_embedding": True},
    "mbart": {"model_type": "mbart", **BART},
    "switch": {"model_type": "switch_transformers", **T5, "num_experts": 2, "num_decoder_layers": 2},
}
FIRST = {"t5": PAD, "flan": PAD, "bart": 2, "marian": PAD, "mbart": None, "switch": PAD}


def network(kind, **options):
    return HuggingFace(
        VOCABULARY, 32, architecture="encoder-decoder", max_length=32, config_json=CONFIGS[kind], **options
    ).eval()


@pytest.fixture(scope="module", params=CONFIGS)
def published(request, tmp_path_factory):
    """(its name, a model of theirs with every weight drawn at random, its folder)."""
    torch.manual_seed(4)
    folder = tmp_path_factory.mktemp(request.param)
    described = transformers.AutoConfig.for_model(**CONFIGS[request.param], vocab_size=VOCABULARY)
    model = transformers.AutoModelForSeq2SeqLM.from_config(described)
    for parameter in model.parameters():
        parameter.data += 0.4 * torch.randn_like(parameter)  # norms begin at 1: sure of itself, and of different things
    if hasattr(model, "final_logits_bias"):
        torch.nn.init.normal_(model.final_logits_bias, std=0.5)
    model.save_pretrained(folder)
    return request.param, transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval().double(), folder


@pytest.fixture
def both(published):
    kind, theirs, folder = published
    ours = network(kind)
    report = load(ours, torch.nn.Identity(), str(folder))
    assert set(report.taken) == set(ours.state_dict()) and not report.new and not report.left
    return ours.double(), theirs


def texts():
    torch.manual_seed(5)
    lengths = torch.tensor([7, 3, 5, 2, 7, 4])
    mask = torch.arange(7) < lengths[:, None]
    return torch.randint(5, VOCABULARY, (6, 7)).masked_fill(~mask, PAD), mask, torch.randint(5, VOCABULARY, (6, 8))


def test_logits_and_gradients_are_those_of_transformers(both):
    ours, theirs = both
    tokens, mask, target = texts()
    states = ours.decode(target, ours.encode(tokens, mask), mask)
    logits = ours.logits(states)
    expected = theirs(input_ids=tokens, attention_mask=mask.long(), decoder_input_ids=target).logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    for network in both:
        network.zero_grad()
    logits.logsumexp(-1).sum().backward()
    expected.logsumexp(-1).sum().backward()
    learned = {
        ours.published.ours(name): parameter for name, parameter in theirs.named_parameters(remove_duplicate=False)
    }
    assert ours.n_parameters == theirs.num_parameters()
    for name, parameter in ours.named_parameters():
        if parameter.grad is not None:
            rows = slice(PAD + 1, None) if len(parameter) == VOCABULARY else slice(None)  # theirs learn no padding
            torch.testing.assert_close(parameter.grad[rows], learned[name].grad[rows], atol=1e-5, rtol=1e-5)


def test_padding_changes_nothing(both):
    ours, _ = both
    tokens, mask, target = texts()
    together = ours.decode(target, ours.encode(tokens, mask), mask)
    for row, length in enumerate(mask.sum(1).tolist()):
        source, seen = tokens[row : row + 1, :length], mask[row : row + 1, :length]
        alone = ours.decode(target[row : row + 1], ours.encode(source, seen), seen)
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)


def test_a_cache_changes_nothing_whatever_rows_go_on(both):
    """Rows of a source change places, a source is left, and rows of those that stay are copied."""
    ours, _ = both
    tokens, mask, target = texts()
    reader, copies = Reader(ours, tokens, mask, 2), target.repeat_interleave(2, 0)
    copies[1::2] = copies[1::2].flip(1)
    reader.step(copies[:, :2])
    reader.step(copies[:, 2:3])
    for rows, sources in (
        ([1, 0, 2, 3, 5, 4, 6, 7, 8, 9, 11, 10], range(6)),
        ([0, 0, 5, 4, 8, 9], [0, 2, 4]),
        ([3, 3], [1]),
    ):
        rows = torch.tensor(rows)
        reader.keep(rows, torch.tensor(sources))
        tokens, mask, copies = tokens[list(sources)], mask[list(sources)], copies[rows]
        seen = reader.cache["past"].length
        logits = reader.step(copies[:, seen : seen + 1])
        states = ours.decode(copies[:, : seen + 1], ours.encode(tokens, mask), mask)
        torch.testing.assert_close(logits, ours.logits(states)[:, -1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"length_penalty": 2.0, "no_repeat_ngram": 2}], ids=str)
def test_beams_find_the_texts_that_transformers_finds(both, options):
    ours, theirs = both
    tokens, mask, _ = texts()
    first = STOP if ours.first is None else ours.first
    told = {"attention_mask": mask.long(), "max_new_tokens": 10, "decoder_start_token_id": first, "do_sample": False}
    told |= {"pad_token_id": PAD, "suppress_tokens": [PAD], "forced_eos_token_id": None}
    endless = theirs.generate(tokens, num_beams=1, eos_token_id=None, **told)
    stop = endless[:, 3:].flatten().mode().values.item()  # what it likes to write
    theirs_of = {"length_penalty": "length_penalty", "no_repeat_ngram": "no_repeat_ngram_size"}
    same = {theirs_of[key]: value for key, value in options.items()}
    rows = [row[1:] for row in theirs.generate(tokens, num_beams=3, eos_token_id=stop, **same, **told).tolist()]
    expected = [row[: row.index(stop)] if stop in row else row for row in rows]
    decoding = Decoding(beams=3, max_length=10, length_ratio=None, **options)
    found = decoding.answers(ours, tokens, mask, first=first, stop=stop, vocabulary=VOCABULARY, never=[PAD])
    assert [some[0].tokens for some in found] == expected
    assert len({len(text) for text in expected}) > 1, expected


def test_what_a_text_begins_with_and_how_long_it_may_be(both, published):
    ours, _ = both
    assert isinstance(ours, HuggingFacePair) and ours.first == FIRST[published[0]]
    assert ours.context == CONFIGS[published[0]].get("max_position_embeddings")


def test_what_is_handed_on_comes_back_as_it_was(both, published, tmp_path):
    ours, theirs = both
    made = ours.float().published.model(ours.state_dict())
    made.save_pretrained(tmp_path)
    again = network(published[0])
    assert not load(again, torch.nn.Identity(), str(tmp_path)).new
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in ours.state_dict().items())
    assert all(torch.equal(tensor.float(), made.state_dict()[name]) for name, tensor in theirs.state_dict().items())


def test_a_low_rank_change_is_learned_in_both_stacks_and_merged(both, published):
    ours, plain = both[0], network(published[0]).double()
    adapt(ours, 2, 4.0)
    learned = [(name, parameter) for name, parameter in ours.named_parameters() if "low_rank" in name]
    assert {name.split(".")[1] for name, _ in learned} == {"encoder", "decoder"}
    for _, parameter in learned:
        torch.nn.init.normal_(parameter, std=0.1)
    ours.double()
    plain.load_state_dict(merged(ours.state_dict()))
    tokens, mask, target = texts()
    states = [some.decode(target, some.encode(tokens, mask), mask) for some in (ours, plain)]
    torch.testing.assert_close(*states, atol=1e-4, rtol=1e-4)


def test_what_is_handed_on_begins_and_ends_texts_as_the_run_did(tmp_path):
    tokenizer = Tokenizer("wordpiece", VOCABULARY, min_frequency=1)
    tokenizer.train(["a text for a text"])
    ours = network("bart")
    made = ours.published.model(ours.state_dict())
    made.generation_config.update(**writing(ours.first, tokenizer))
    made.save_pretrained(tmp_path)
    again = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    tokens, mask, _ = texts()
    written = again.generate(tokens, attention_mask=mask.long(), num_beams=3, do_sample=False, max_new_tokens=10)
    rows = [[id for id in row[1:] if id not in (tokenizer.sep_id, tokenizer.pad_id)] for row in written.tolist()]
    decoding = Decoding(beams=3, max_length=10, length_ratio=None)
    ids = {"first": ours.first, "stop": tokenizer.sep_id, "vocabulary": VOCABULARY, "never": tokenizer.never}
    assert [some[0].tokens for some in decoding.answers(ours, tokens, mask, **ids)] == rows


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_activations_that_are_computed_twice_change_no_gradient(kind):
    ours = network(kind).train()
    tokens, mask, target = texts()
    gradients = []
    for again in (False, True):
        if again:
            ours.recompute()
        torch.manual_seed(1)
        ours.zero_grad()
        ours.logits(ours.decode(target, ours.encode(tokens, mask), mask)).logsumexp(-1).sum().backward()
        gradients.append([parameter.grad for parameter in ours.parameters()])
    assert all(stack.is_gradient_checkpointing for stack in ours.body.values())
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_layers_are_told_apart():
    ours = network("bart")
    names = {id(parameter): name for name, parameter in ours.named_parameters()}
    found = {}
    for key, depth in depths(ours).items():
        found.setdefault(depth, []).append(names[key])
    assert all("embed" in name for name in found[0]) and all(".0." in name for name in found[1])


@pytest.mark.parametrize(
    ("architecture", "config", "told"),
    [
        ("encoder-decoder", {"model_type": "llama", "hidden_size": 32}, "llama has no model for a text from a text"),
        ("encoder-decoder", {"model_type": "bert", "hidden_size": 32}, "bert has no model for a text from a text"),
        ("decoder", CONFIGS["t5"], "t5 has no model for next tokens"),
        ("decoder", CONFIGS["bart"], "bart has no model for next tokens"),
        ("encoder-decoder", CONFIGS["bart"] | {"max_position_embeddings": 16}, "texts of 32 tokens, and positions for"),
        ("encoder-decoder", CONFIGS["bart"] | {"d_model": 64}, "d_model is 32, and model.network.config says 64"),
        ("encoder-decoder", CONFIGS["t5"] | {"num_heads": -1}, "transformers refuses it: "),
        ("encoder-decoder", {"model_type": "fsmt", **BART, "langs": ["en", "de"]}, "fsmt"),
        ("encoder-decoder", {"model_type": "prophetnet", "hidden_size": 32}, "the sides of prophetnet cannot be asked"),
    ],
)
def test_what_cannot_be_built_is_told_in_one_line(architecture, config, told):
    with pytest.raises(ConfigError, match=told):
        HuggingFace(VOCABULARY, 32, architecture=architecture, max_length=32, config_json=config)


def test_a_decoder_that_is_given_no_source_is_told():
    with pytest.raises(NotImplementedError, match="writes no text but one for another"):
        network("t5").decode(texts()[2])


def test_weights_of_another_size_are_refused(tmp_path):
    whole = network("bart").published.model(network("bart").state_dict())
    whole.save_pretrained(tmp_path)
    other = HuggingFace(
        VOCABULARY,
        architecture="encoder-decoder",
        max_length=32,
        config_json=CONFIGS["bart"] | {"decoder_layers": 1},
    )
    with pytest.raises(CheckpointError, match="with .*decoder.layers.1.* beside"):
        load(other, torch.nn.Identity(), str(tmp_path))


def test_a_config_builds_it_from_a_folder_alone(tmp_path):
    tokenizer = Tokenizer("wordpiece", 60, min_frequency=1)
    tokenizer.train(["a text for a text"])
    described = transformers.AutoConfig.for_model(**CONFIGS["t5"], vocab_size=60)
    theirs = transformers.AutoModelForSeq2SeqLM.from_config(described).eval()
    theirs.save_pretrained(tmp_path)
    tokenizer.save(tmp_path / "tokenizer.json")
    choices = ["model=hf", "task=translation", "tokenizer=pretrained", f"weights={tmp_path}", "data.max_length=32"]
    config = compose(*choices)
    complete(config)
    told = plain(config)
    json.dumps(told["model"]["network"]["config_json"])
    assert told["task"]["architecture"] in told["model"]["architectures"]
    assert set(told["model"]["network"]) - {"_target_"} <= set(signature("lmlab.models.hf.HuggingFace").annotations)
    ours = instantiate(told["model"]["network"]).eval()
    assert not load(ours, torch.nn.Identity(), str(tmp_path)).new
    tokens, mask, target = texts()
    logits = ours.logits(ours.decode(target, ours.encode(tokens, mask), mask))
    expected = theirs(input_ids=tokens, attention_mask=mask.long(), decoder_input_ids=target).logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_a_run_answers_as_transformers_does_with_what_it_hands_on(tmp_path):
    pairs = write_pairs(tmp_path / "pairs")
    tokenizer = Tokenizer("wordpiece", 60, min_frequency=1)
    tokenizer.train((tmp_path / "pairs" / f"pairs.{side}").read_text() for side in ("eo", "en"))
    described = transformers.AutoConfig.for_model(**CONFIGS["t5"] | {"pad_token_id": tokenizer.pad_id}, vocab_size=60)
    transformers.AutoModelForSeq2SeqLM.from_config(described).save_pretrained(tmp_path / "t5")
    tokenizer.save(tmp_path / "t5" / "tokenizer.json")
    choices = ["model=hf", "weights=t5", "tokenizer=pretrained", *pairs, "data.max_length=16", "data.batch_tokens=128"]
    choices += ["trainer=cpu", "logger=csv", "trainer.max_epochs=8", "optimizer.lr=1e-2", "task.decoded_share=0.5"]
    choices += ["trainer.log_every_n_steps=1", "data.val_share=0.2", "data.test_share=0.2"]
    inside(*choices, cwd=tmp_path)
    run = only_run(tmp_path)
    (tmp_path / "t5").rename(tmp_path / "gone")  # no later stage needs it
    asked = ["un kat", "duo hund tri"]
    (tmp_path / "asked.txt").write_text("".join(f"{text}\n" for text in asked))
    told = inside("stage=predict", f"run={run}", "stage.input=asked.txt", cwd=tmp_path).stdout.splitlines()
    inside("stage=export", f"run={run}", "stage.output=handed", cwd=tmp_path)
    read = transformers.AutoTokenizer.from_pretrained(tmp_path / "handed")
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "handed")
    for text, line in zip(asked, told, strict=True):
        given = read([text], return_tensors="pt")
        source = given["input_ids"]
        written = theirs.generate(source, num_beams=4, max_new_tokens=min(16, 2 * source.shape[1] + 10))
        assert read.decode(written[0], skip_special_tokens=True) == json.loads(line)["output"] != ""

"""A run's model as a folder that transformers loads: config, weights, tokenizer and a card that says what it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from lmlab import published
from lmlab.errors import ConfigError
from lmlab.experiment import Experiment
from lmlab.nn.lora import merged
from lmlab.run_directory import RunDirectory
from lmlab.tokenizer import Frame, Tokenizer

ARCHITECTURES = {  # of a family and a task, where transformers has the same head
    ("bert", "MaskedLM"): "BertForMaskedLM",
    ("bert", "Classification"): "BertForSequenceClassification",
    ("bert", "Regression"): "BertForSequenceClassification",
    ("roberta", "MaskedLM"): "RobertaForMaskedLM",
    ("roberta", "Classification"): "RobertaForSequenceClassification",
    ("roberta", "Regression"): "RobertaForSequenceClassification",
    ("gpt2", "CausalLM"): "GPT2LMHeadModel",
}
BODIES = {"bert": "BertModel", "roberta": "RobertaModel", "gpt2": "GPT2Model"}
HEADS = {"bert": "classifier", "roberta": "classifier.out_proj"}
POSITIONS = "embeddings.position_embeddings.weight"
HEAD_FILE = "head.safetensors"  # of a head that transformers has not got


def write(experiment: Experiment, folder: Path) -> list[Path]:
    """Write the folder; a head that no class of transformers has goes into a file of its own."""
    network, task, tokenizer = experiment.module.network, experiment.module.task, experiment.corpus.tokenizer
    head = {name: parameter.data for name, parameter in task.named_parameters()}
    model = network.published.model(merged(network.state_dict()))  # type: ignore[union-attr]
    if model is not None:
        refuse_other_padding(model, tokenizer)
        if experiment.config["task"]["architecture"] == "encoder-decoder":
            model.generation_config.update(**writing(task.first(network), tokenizer))  # type: ignore[operator]
        model.save_pretrained(folder)
        architecture, separate = type(model).__name__, bool(head)
    else:
        architecture, separate = write_own(network, task, tokenizer, folder)
    if separate:
        save(head, folder / HEAD_FILE)
    tokenizer.save(folder / published.TOKENIZER, frame(experiment))
    texts = {
        "tokenizer_config.json": as_json(tokenizer_config(experiment, published.config_of(folder))),
        "README.md": card(experiment.run, architecture, separate_head=separate),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    written = [published.CONFIG, published.WEIGHTS, published.TOKENIZER, *texts] + [HEAD_FILE] * separate
    return [folder / name for name in written]


def frame(experiment: Experiment) -> Frame | None:
    """The special ids around what an encoder has read; None of a text that is only gone on with."""
    task, tokenizer = experiment.config["task"], experiment.corpus.tokenizer
    if task["architecture"] == "decoder":
        return None
    if task["batches"] != "blocks" or tokenizer.frame.end:
        return tokenizer.frame
    return Frame(*[(tokenizer.sep_id,)] * 3)  # of blocks


def writing(first: int, tokenizer: Tokenizer) -> dict[str, Any]:
    """Where the texts of an encoder-decoder begin and end, and what they never hold, as transformers asks for it."""
    ends = {"eos_token_id": tokenizer.sep_id, "forced_eos_token_id": None, "forced_bos_token_id": None}
    begins = {"decoder_start_token_id": first, "pad_token_id": tokenizer.pad_id}
    return begins | ends | {"suppress_tokens": list(tokenizer.never)}


def write_own(network: nn.Module, task: nn.Module, tokenizer: Tokenizer, folder: Path) -> tuple[str, bool]:
    """Write config and weights of a family of our own: (the class that loads them, whether it lacks the head)."""
    config: dict[str, Any] = network.config()
    if own := [name for name in network.state_dict() if not network.published.knows(name)]:  # type: ignore[union-attr]
        what = f"transformers has no {config['model_type']} with a part like {own[0].partition('.')[0]}"
        raise ConfigError(what, "stage=export", "Runs of other tasks can be exported")
    kind, head = config["model_type"], dict(task.named_parameters())
    state = network.published.to_theirs(merged(network.state_dict()))  # type: ignore[union-attr]
    if kind == "roberta":  # there the first position follows the number of [PAD]
        unused = network.first_position - tokenizer.pad_id - 1
        state[POSITIONS] = state[POSITIONS][unused:]
        config["max_position_embeddings"] -= unused
    architecture = ARCHITECTURES.get((kind, type(task).__name__), BODIES[kind])
    if head and not (fits := is_theirs(network, task)):
        architecture = BODIES[kind]
    elif head:
        state |= {f"{HEADS[kind]}.{name.rpartition('.')[2]}": tensor for name, tensor in head.items()}
        if kind == "roberta":  # whose head has a map of its own in the place of the pooler
            state = {name.replace("pooler.dense", "classifier.dense"): tensor for name, tensor in state.items()}
    if architecture not in BODIES.values():
        heads = tuple(name for name in network.published.heads if name != "pooler.")  # type: ignore[union-attr]
        prefix = network.published.prefix  # type: ignore[union-attr]
        state = {name if name.startswith(heads) else f"{prefix}.{name}": tensor for name, tensor in state.items()}
    config |= {"architectures": [architecture], "pad_token_id": tokenizer.pad_id, "dtype": "float32"}
    if classes := getattr(task, "classes", None):
        config |= {"id2label": dict(enumerate(classes)), "label2id": {name: n for n, name in enumerate(classes)}}
    elif architecture.endswith("ForSequenceClassification"):
        config |= {"num_labels": 1, "problem_type": "regression"}
    save(state, folder / published.WEIGHTS)
    (folder / published.CONFIG).write_text(as_json(config), encoding="utf-8")
    return architecture, bool(head) and not fits


def refuse_other_padding(model: Any, tokenizer: Tokenizer) -> None:
    """Raises ConfigError where transformers would number the tokens of a text by another [PAD] than the run's."""
    places = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    counted = getattr(places, "padding_idx", None)
    if counted not in (None, tokenizer.pad_id):
        pad = tokenizer.pad_id
        what = f"{model.config.model_type} numbers tokens from its [PAD], {counted}, and the tokenizer's is {pad}"
        raise ConfigError(what, "stage=export", f'Train with "model.network.config={{pad_token_id: {pad}}}"')


def is_theirs(network: nn.Module, task: nn.Module) -> bool:
    """Whether the head is what transformers has: a linear map of the pooled first token."""
    head = getattr(task, "head", None)
    plain = isinstance(head, nn.Sequential) and sum(1 for part in head if list(part.parameters())) == 1
    return plain and getattr(network, "pooler", None) is not None


def save(state: Mapping[str, Tensor], file: Path) -> None:
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in state.items()}, file, {"format": "pt"})


def as_json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def tokenizer_config(experiment: Experiment, config: Mapping[str, Any]) -> dict[str, Any]:
    """What AutoTokenizer needs beside tokenizer.json, for a model of this config.json."""
    tokenizer = experiment.corpus.tokenizer
    entries = tokenizer.entries()
    roles = {"pad": tokenizer.pad_id, "unk": tokenizer.unk_id, "cls": tokenizer.cls_id, "sep": tokenizer.sep_id}
    special = {f"{role}_token": entries[id] for role, id in roles.items()}
    special |= {"mask_token": entries[tokenizer.mask_id]} if tokenizer.mask_id is not None else {}
    length = experiment.corpus.max_length
    read = ["input_ids", "attention_mask", *["token_type_ids"] * (config.get("type_vocab_size", 0) > 1)]
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": length, "model_input_names": read}
    return told | special


def card(run: RunDirectory, architecture: str, *, separate_head: bool) -> str:
    """A model card: what it was trained on and how, what it scored, and what is not known of it."""
    manifest = run.read_manifest()
    metrics = json.loads(run.metrics.read_text(encoding="utf-8")) if run.metrics.exists() else {}
    corpus = manifest.get("corpus", {})
    scores = [f"| {name} | {value:.4f} |" for part in ("val", "test") for name, value in metrics.get(part, {}).items()]
    head = [f"The head of the task is in {HEAD_FILE}: transformers has none like it.", ""] if separate_head else []
    lines = [
        "---",
        "library_name: transformers",
        "---",
        f"# {architecture} by lmlab",
        "",
        f"Corpus: {corpus.get('corpus')} ({corpus.get('source')}), rows {corpus.get('rows')}, "
        f"content {str(corpus.get('fingerprint'))[:16]}.",
        "",
        "```",
        " ".join(manifest.get("command", [])),
        "```",
        "",
        *head,
        "| metric | value |",
        "|---|---|",
        *scores,
        "",
        "Scores are on the splits of this corpus alone. It was not measured on other texts or languages, nor for bias,",
        "nor for what it repeats of its training text.",
    ]
    return "\n".join(lines) + "\n"

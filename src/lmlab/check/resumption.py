"""A run to go on with: which one, and whether what was typed now still is that run."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab.check.finished_run import MACHINE, read_config, rebase, run_folder
from lmlab.check.override import parse
from lmlab.check.yaml_files import LAYERED
from lmlab.errors import ConfigError, LmlabError
from lmlab.names import covered, run_name

if TYPE_CHECKING:
    from omegaconf import DictConfig

# what the position, the weights and their moments belong to; a path may change, its content (a fingerprint) may not
FIXED: tuple[str, ...] = ("seed", "data", "tokenizer", "model", "task", "optimizer", "scheduler")
AVERAGED = "callbacks.ema.decay"  # of all callbacks, the one key that weights depend on
FIXED += ("trainer.limit_train_batches", AVERAGED)
FREE = ("data.n_workers", "data.eval_batch_tokens", "data.cache", "data.tokenizer", "data.path", "data.seed")
OWN: tuple[str, ...] = (
    "run",
    "sweep",
    "resume",
    "allow_change",
    "stage",
    "cache",
    "callbacks",
    "logger",
    "data.cache",
    "data.n_workers",
)  # of the job
OWN += (
    "trainer.max_time",
    "trainer.compile",
    "trainer.activation_checkpointing",
    *(f"trainer.{key}" for key in MACHINE),
)


def resumed(cfg: "DictConfig", overrides: Sequence[str], typed: Mapping[str, Any]) -> "DictConfig":
    """The config of the run at `cfg.resume` with what was typed now; `cfg` itself if `auto` finds none.

    Raises ConfigError for a change that the run's checkpoints do not survive.
    """
    if isinstance(cfg.allow_change, str):
        fix = f"Write allow_change=[{cfg.allow_change}]"
        raise ConfigError(f"allow_change: a list expected, got {cfg.allow_change!r}", "command line", fix)
    folder = newest_unfinished(cfg, typed) if cfg.resume == "auto" else run_folder(str(cfg.resume))
    if folder is None:
        cfg.resume = None
        return cfg
    then = read_config(str(folder))
    if cfg.resume == "auto":  # the run was found by its config, which an experiment helped to write
        overrides = [override for override in overrides if parse(override).key not in LAYERED]
    cfg.run.folder = str(folder)  # to which loggers and callbacks refer
    final = rebase(with_findings(cfg, then), then, overrides)
    final.resume, final.run.folder = str(folder), None
    refuse_changes(then, plain(final), list(final.allow_change))
    return final


def refuse_changes(then: Mapping[str, Any], now: Mapping[str, Any], allowed: Sequence[str]) -> None:
    changed = [
        (key, before, after)
        for key, before, after in differences(then, now)
        if covered(key, FIXED) and not covered(key, (*FREE, *allowed))
    ]
    if changed:
        told = "; ".join(f"{key}: {before!r} then, {after!r} now" for key, before, after in changed[:3])
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        keys = ",".join(key for key, _, _ in changed[:3])
        raise ConfigError(
            f"the run was trained with another config ({told}{more})",
            "resume",
            f"Leave it as it was, start a new run, or add allow_change=[{keys}]",
        )


def newest_unfinished(cfg: "DictConfig", choices: Mapping[str, Any]) -> Path | None:
    """The newest run that did not finish and has the same config."""
    begun = sorted(Path(cfg.run.output).glob(f"{run_name(choices)}/*/manifest.json"), reverse=True)
    for manifest in begun:
        if is_unfinished(manifest.parent, cfg):
            return manifest.parent
    return None


def is_unfinished(folder: Path, cfg: "DictConfig") -> bool:
    """Whether a folder holds a run of this config that did not finish."""
    try:
        status = json.loads((folder / "manifest.json").read_text(encoding="utf-8")).get("status")
        then = read_config(str(folder))
    except (OSError, ValueError, LmlabError):
        return False
    return status != "finished" and not any(same_run(then, plain(with_findings(cfg.copy(), then))))


def with_findings(cfg: "DictConfig", then: Mapping[str, Any]) -> "DictConfig":
    """What a run has found belongs to its config from then on: the classes in its rows and how they weigh, what
    published files told of its network, how many tokens its device held."""
    from omegaconf import OmegaConf

    network = cfg.model.get("network") or {}
    if "config_json" in network and network.config_json is None:
        found = then["model"]["network"]
        network.config_json, network.d_model = found.get("config_json"), network.d_model or found.get("d_model")
        OmegaConf.update(cfg, "model.published_vocab", then["model"].get("published_vocab"), force_add=True)
    if cfg.trainer.get("batch_tokens") == "auto":
        cfg.trainer.batch_tokens = then["trainer"].get("batch_tokens")
    if cfg.data.get("classes", ()) is None:
        cfg.data.classes = then["data"].get("classes")
    if cfg.task.get("class_weights") == "balanced":
        cfg.task.class_weights = then["task"].get("class_weights")
    return cfg


def same_run(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """The keys by which two configs are not of the same run."""
    for key, before, after in differences(then, now):
        folder = isinstance(before, str) and before.startswith(str(then["run"]["folder"]))
        moved = key == "data.path" and after and str(Path(after).expanduser().absolute()) == before
        if key == AVERAGED or not (covered(key, OWN) or folder or moved):
            yield key


def differences(then: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, value then, value now) wherever two configs differ."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys((*then, *now)):
            yield from differences(then.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif then != now:
        yield path, then, now


def plain(cfg: "DictConfig") -> dict[str, Any]:
    from omegaconf import OmegaConf

    config: Any = OmegaConf.to_container(cfg, resolve=True)
    return config

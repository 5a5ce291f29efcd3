"""A composed config from top to bottom: what no run could be made of is refused."""

import ast
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from lmlab.check.calls import refuse_call, unfit
from lmlab.check.nearest import did_you_mean
from lmlab.check.origin import Origin
from lmlab.check.outline import outline
from lmlab.check.pairs import refuse_export, refuse_pair, refuse_stage
from lmlab.check.run_name import refuse_name
from lmlab.check.secret import refuse_secret
from lmlab.check.sweep_keys import sweep_keys
from lmlab.check.values import misfit
from lmlab.check.yaml_files import LAYERED, top_level_keys
from lmlab.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

FIRST_STAGES = ("fit", "check")  # they begin a run; all others work on one
# null until a run is made (its folder), its corpus is read (the names of the classes) or its published config (widths);
# others refer to them before
LATER = {"run.folder": "outputs", "data.classes": ["negative", "positive"], "task.d_model": 1}


def composed(
    cfg: "DictConfig", typed: Sequence[str] = (), choices: Mapping[str, Any] | None = None, run: str | None = None
) -> None:
    """Raises ConfigError for the first thing in `cfg` that no run could be made of; changes nothing.

    `typed` are the overrides, `choices` the group choices and `run` the folder that the config started from: an error
    says which of them holds the mistake.
    """
    from omegaconf import OmegaConf

    unresolved: Any = OmegaConf.to_container(cfg, resolve=False)
    origin = Origin(typed, choices or {}, run, unresolved)
    refuse_unknown_top(cfg, origin)
    refuse_run_keys(cfg.run, origin)
    stage = str(cfg.stage.get("_target_", "")).rpartition(".")[2]
    if cfg.get("resume") and stage != "fit":
        raise ConfigError(f"resume= goes on with a training, and stage={stage} is none", "command line", "Use run=")
    refuse_stage_without_run(stage, cfg.run.get("folder"))
    refuse_average(cfg.get("average"), stage, origin)
    cfg = cfg.copy()
    for key, stand_in in LATER.items():
        if OmegaConf.select(cfg, key, default=stand_in) is None:
            OmegaConf.update(cfg, key, stand_in)
    config = plain(cfg, origin)
    sweep_keys(config.get("sweep") or {}, origin)
    refuse_pair(config)  # first: a family need not know what other architectures' options are
    walk(config, (), origin)
    refuse_other_tokenizer(config)
    refuse_decayed_prior(config.get("optimizer") or {}, origin)
    refuse_accumulated_twice(config.get("trainer") or {}, origin)
    refuse_stage(config)
    refuse_export(config)


def plain(cfg: "DictConfig", origin: Origin) -> dict[str, Any]:
    """The config in plain types, interpolations resolved."""
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    try:
        config: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        return config
    except OmegaConfBaseException as error:
        key = error.full_key or ""
        where = origin(key.split("."))
        if isinstance(error, MissingMandatoryValue):
            raise ConfigError(f"{key} must be given", where, f"Add {key}=...") from None
        raise ConfigError(f"{key}: {str(error.msg).splitlines()[0]}", where, "Correct the reference") from None


def refuse_unknown_top(cfg: "DictConfig", origin: Origin) -> None:
    """Experiments may set every key and make none: one that only they write is a typo."""
    settled = {group: option for group, option in origin.choices.items() if option and group not in LAYERED}
    for key in {str(key) for key in cfg} - top_level_keys():
        if origin.run is None and key not in outline(settled):
            fix = did_you_mean(key, top_level_keys() - set(LAYERED))
            raise ConfigError(f"unknown key {key}", origin((key,)), fix)


def refuse_run_keys(run: Mapping[str, Any], origin: Origin) -> None:
    known = {"folder", "id", "output"}
    for key, value in run.items():
        if key not in known:
            raise ConfigError(f"unknown key run.{key}", origin(("run", key)), did_you_mean(key, known))
        if key == "id" and value is not None:
            refuse_name("run.id", value, origin(("run", key)))
        if value == "" or (value is None and key == "output"):
            raise ConfigError(f"run.{key}: a folder expected, got nothing", origin(("run", key)), "Name one")


def refuse_stage_without_run(stage: str, folder: str | None) -> None:
    if stage not in FIRST_STAGES and not folder:
        fix = f"Say which: stage={stage} run=<run folder>"
        raise ConfigError(f"stage={stage} works on a finished run", "command line", fix)
    if stage in FIRST_STAGES and folder:
        fix = f"Say what to do with the run, e.g. stage=test run={folder}"
        raise ConfigError(f"stage={stage} begins a new run and takes none", "command line", fix)


def refuse_average(average: Any, stage: str, origin: Origin) -> None:
    """The weights of several checkpoints are those of a run that has them."""
    if problem := misfit(average, ast.parse("PositiveInt | None", mode="eval").body):
        raise unfit("average", *problem, where=origin(("average",)))
    if average is not None and stage in FIRST_STAGES:
        what = f"average={average} takes the weights of a finished run, and stage={stage} begins one"
        raise ConfigError(what, origin(("average",)), "Leave it out, and give it to stage=test run=<run folder>")


def refuse_other_tokenizer(config: Mapping[str, Any]) -> None:
    """Weights know the ids of one tokenizer, their own; one that is trained anew would give them other words."""
    tokenizer = config.get("tokenizer") or {}
    if config.get("weights") and tokenizer.get("kind") != "pretrained" and not tokenizer.get("path"):
        what = f"weights={config['weights']} were trained with another tokenizer than a new {tokenizer.get('kind')} one"
        raise ConfigError(what, "tokenizer", "Add tokenizer=pretrained, which is theirs, or tokenizer.path=")


def refuse_decayed_prior(optimizer: Mapping[str, Any], origin: Origin) -> None:
    """A prior is the whole of what pulls weights to zero: decay beside it would be another one, of unknown width."""
    if optimizer.get("prior_std") is not None and optimizer.get("weight_decay"):
        what = f"optimizer.prior_std and optimizer.weight_decay={optimizer['weight_decay']} both pull weights to zero"
        raise ConfigError(what, origin(("optimizer", "prior_std")), "Set optimizer.weight_decay=0, or no prior")


def refuse_accumulated_twice(trainer: Mapping[str, Any], origin: Origin) -> None:
    """What a device holds at once says how many batches are accumulated."""
    if trainer.get("batch_tokens") is not None and trainer.get("accumulate_grad_batches", 1) != 1:
        what = "trainer.batch_tokens and trainer.accumulate_grad_batches both say how many batches are accumulated"
        raise ConfigError(what, origin(("trainer", "accumulate_grad_batches")), "Give one of them")


def walk(node: Any, path: tuple[str, ...], origin: Origin) -> None:
    """Checks a node and all below it."""
    if isinstance(node, float) and not math.isfinite(node):
        raise ConfigError(f"{'.'.join(path)}: finite number expected, got {node}", origin(path))
    if isinstance(node, Mapping):
        for key, value in node.items():
            refuse_secret(".".join((*path, str(key))), value, partial(origin, (*path, str(key))))
        if "_target_" in node:
            refuse_call(node, path, origin)
        elif len(path) == 2 and path[0] in ("callbacks", "logger"):
            fix = did_you_mean(path[1], outline(origin.choices).get(path[0], {}).keys() - {path[1]})
            raise ConfigError(f"{'.'.join(path)} has no _target_", origin(path), fix)
        for key, value in node.items():
            walk(value, (*path, str(key)), origin)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            walk(value, (*path, str(index)), origin)

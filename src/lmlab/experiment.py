"""From a config to a corpus, a task, a network and a trainer: the only caller of Hydra's instantiate."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import hydra.utils
import lightning.pytorch as pl
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from lmlab import checkpointing, launched, machine, weights
from lmlab.callbacks.checkpoints import Checkpoints
from lmlab.callbacks.same_config import SameConfig
from lmlab.callbacks.stop_when_asked import StopWhenAsked
from lmlab.check import FIRST_STAGES, METADATA, allowed
from lmlab.data.corpus import Corpus
from lmlab.distributed import DDP, processes
from lmlab.errors import CheckpointError, ConfigError, LmlabError
from lmlab.module import LanguageModule
from lmlab.run_directory import RunDirectory
from lmlab.starting_vectors import begin_with


class Experiment:
    """One job: the parts that its config names, each made when it is first asked for."""

    def __init__(self, config: Mapping[str, Any], run: RunDirectory, job: Path | None = None) -> None:
        self.config, self.run = config, run
        self.job = job or run.config  # the file other ranks read
        machine.keep_freed_memory()
        pl.seed_everything(config["seed"], verbose=False)

    @cached_property
    def corpus(self) -> Corpus:
        return instantiate(self.config["data"], "data")

    @cached_property
    def module(self) -> LanguageModule:
        torch.manual_seed(self.config["seed"])
        task = instantiate(self.config["task"], "task")
        task.tokenizer = self.corpus.target_tokenizer
        parts = {name: instantiate(self.config[name], name) for name in ("optimizer", "scheduler")}
        parts["prior_std"] = self.config["optimizer"].get("prior_std")
        model = instantiate({**self.config["model"], "_partial_": True}, "model")
        module = model(task=task, seed=self.config["seed"], **parts)
        network = self.config["model"]["network"]
        if self.stage == "fit" and not self.config.get("resume"):
            if self.config.get("weights"):
                weights.load(module.network, task, self.config["weights"])
            if network.get("embeddings"):
                begin_with(module.network, self.corpus.tokenizer, network["embeddings"], instantiate)
        if network.get("freeze_embeddings"):
            module.network.embedding.requires_grad_(False)
        module.adapt()
        trainer = self.config["trainer"]
        if self.stage in FIRST_STAGES and trainer.get("activation_checkpointing"):
            module.network.recompute()
        if self.stage == "fit" and trainer.get("compile"):
            module.network.compile()
        return module

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The trainer's settings on this machine."""
        settings = machine.resolved(self.config["trainer"])
        if isinstance(at_once := settings.get("batch_tokens"), int):
            ranks = settings["devices"] * settings["num_nodes"]
            settings["accumulate_grad_batches"] = math.ceil(self.config["data"]["batch_tokens"] / (at_once * ranks))
        return settings

    @cached_property
    def trainer(self) -> pl.Trainer:
        fitting = self.stage == "fit"
        settings = {key: value for key, value in self.settings.items() if key not in METADATA["trainer"]}
        if settings["strategy"] == "ddp":
            environment = launched.cluster(self.config["trainer"]["launcher"])
            settings["strategy"] = DDP((self.run.path, self.job), self.run.log, cluster_environment=environment)
        callbacks: list[Any] = [SameConfig(self.config)]
        callbacks += [instantiate(part) for part in self.config["callbacks"].values() if part]
        loggers = [instantiate(part) for part in self.config["logger"].values() if part] if fitting else []
        max_time = settings.pop("max_time", None)
        if fitting:
            callbacks.append(StopWhenAsked(max_time))
            for part in callbacks:
                if isinstance(part, Checkpoints):
                    part.config = self.config
        else:
            callbacks = [part for part in callbacks if not isinstance(part, Checkpoints)]
        if fitting and not self.module.automatic_optimization and settings["accumulate_grad_batches"] != 1:
            what = f"{type(self.module).__name__} moves its weights at each batch: none are accumulated"
            raise ConfigError(what, "trainer", "Set trainer.accumulate_grad_batches=1; a batch is data.batch_tokens")
        trainer = instantiate(settings | {"_partial_": True})(
            callbacks=callbacks,
            logger=loggers,
            plugins=[checkpointing.WholeCheckpoints()],
            default_root_dir=self.run.path,
            enable_checkpointing=fitting,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer._signal_connector.register_signal_handlers = lambda: None  # they deadlock; ours are set (signals.py)
        return trainer

    @property
    def stage(self) -> str:
        return self.config["stage"]["_target_"].rpartition(".")[2]

    @property
    def pruned(self) -> bool:
        """Whether a search has ended this trial early."""
        return any(getattr(callback, "pruned", False) for callback in vars(self.trainer)["callbacks"])

    def load_weights(self, checkpoint: Path) -> None:
        """Put a checkpoint's weights into the module, or with `average` the mean of those of its run's last ones."""
        if not checkpoint.exists():
            raise CheckpointError("the run has no such checkpoint", str(checkpoint), "Finish its stage=fit first")
        if self.stage != "fit" and (n := self.config.get("average")):  # absent in runs from before the key
            content = checkpointing.averaged(checkpoint.parent, n)
        else:
            content = checkpointing.load(checkpoint)
        try:
            self.module.load_state_dict(content["state_dict"])
        except RuntimeError as error:
            differing = checkpointing.differences(content["state_dict"], self.module.state_dict())
            then, now = (config.get("model", {}).get("_target_") for config in (content.get("config", {}), self.config))
            what = f"the checkpoint is of another model ({then}, here {now}): {'; '.join(differing[:3])}"
            raise CheckpointError(what, str(checkpoint), "Give the model the keys it was trained with") from error

    def ranks(self) -> contextlib.AbstractContextManager[None]:
        """The time in which the trainer may run."""
        return processes(self.trainer, self.settings["devices"])

    def resume_from(self, checkpoint: Path) -> None:
        """Let the training stage of all ranks go on from a checkpoint."""
        self.config = {**self.config, "resume": str(checkpoint)}
        self.corpus.may_change = self.config["allow_change"]
        self.job = self.run.job_file("fit")
        self.run.write_config(self.config, self.job)

    def run_stage(self) -> dict[str, Any] | None:
        launcher = self.config["trainer"]["launcher"]
        if launcher and not launched.rank(launcher):
            launched.announce(launcher, str(self.run.path), str(self.job))
        return instantiate(self.config["stage"])(self)


def plain(config: DictConfig) -> dict[str, Any]:
    """The config in plain types, interpolations resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))


def complete(config: DictConfig) -> None:
    """Write into a config what its family finds in published files, from which on it needs none of them."""
    options = cast(dict[str, Any], OmegaConf.to_container(config.model.network, resolve=True))
    refuse_foreign(options)
    family: Any = hydra.utils.get_object(options["_target_"])
    for key, value in family.found(options, config.weights).items():
        OmegaConf.update(config, f"model.{key}", value, merge=False, force_add=True)


def refuse_other_weights(config: DictConfig) -> None:
    """Weights of another shape, or without their tokenizer, are told before a folder is made and a corpus read, by a
    network without memory."""
    options = cast(dict[str, Any], OmegaConf.to_container(config.model.network, resolve=True))
    if config.tokenizer.get("path") and not config.resume:
        instantiate(cast(dict[str, Any], OmegaConf.to_container(config.tokenizer, resolve=True)))
    if config.weights and not config.resume and options.get("config_json") is None:  # which builds what it has read
        with torch.device("meta"):
            network = instantiate(options, "model.network")
        weights.matched(network, config.weights)
        weights.refuse_other_options(options, config.weights)


def instantiate(node: Mapping[str, Any], group: str = "") -> Any:
    """Hydra's instantiate behind the list of what a config may name (ARCHITECTURE, section 4)."""
    node = without_metadata(node, group)
    refuse_foreign(node)
    try:
        return hydra.utils.instantiate(node, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, LmlabError):
            raise error.__cause__ from None
        raise


def without_metadata(node: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A part's config as its constructor takes it."""
    own = {key: value for key, value in node.items() if key not in METADATA.get(place, ())}
    below = {key: f"{place}.{key}" for key in own if f"{place}.{key}" in METADATA}
    return own | {key: without_metadata(own[key], inside) for key, inside in below.items()}


def refuse_foreign(node: Mapping[str, Any]) -> None:
    for target in targets(node):
        if not allowed(target):
            raise ConfigError(
                f"{target!r} is not something a config may call", "_target_", "Only lmlab's own parts are"
            )


def targets(node: Any) -> Iterator[str]:
    """Every `_target_` in a config, at any depth."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from targets(value)

"""From a config to a corpus, a task, a network and a trainer: the only caller of Hydra's instantiate."""

import contextlib
import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import hydra.utils
import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.environments import LightningEnvironment
from omegaconf import DictConfig, OmegaConf

from lmlab import machine
from lmlab.check import allowed
from lmlab.checkpointing import ConfigInCheckpoint
from lmlab.data.corpus import Corpus
from lmlab.distributed import DDP, processes
from lmlab.errors import CheckpointError, ConfigError, LmlabError
from lmlab.module import LanguageModule
from lmlab.run_directory import RunDirectory, command_line, provenance
from lmlab.terminal import logged, speak

METADATA = {"data": {"provides"}, "task": {"needs", "architecture", "monitor", "mode"}, "model": {"architectures"}}


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
        parts = {name: instantiate(self.config[name]) for name in ("optimizer", "scheduler")}
        model = instantiate({**self.config["model"], "_partial_": True}, "model")
        return model(task=task, seed=self.config["seed"], **parts)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The trainer's settings on this machine."""
        return machine.resolved(self.config["trainer"])

    @cached_property
    def trainer(self) -> pl.Trainer:
        fitting = self.stage == "fit"
        settings = dict(self.settings)
        if settings["strategy"] == "ddp":
            settings["strategy"] = DDP(
                (self.run.path, self.job), self.run.log, cluster_environment=LightningEnvironment()
            )
        elif settings["devices"] != 1:
            raise ConfigError(f"{settings['devices']} devices need a strategy", "trainer.strategy", "Use trainer=ddp")
        parts = [instantiate(part) for part in self.config["callbacks"].values() if part]
        callbacks = [part for part in parts if fitting or not isinstance(part, Checkpoint)]
        loggers = [instantiate(part) for part in self.config["logger"].values() if part] if fitting else []
        return instantiate(settings | {"_partial_": True})(
            callbacks=[*callbacks, ConfigInCheckpoint(self.config)] if fitting else callbacks,
            logger=loggers,
            default_root_dir=self.run.path,
            enable_checkpointing=fitting,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )

    @property
    def stage(self) -> str:
        return self.config["stage"]["_target_"].rpartition(".")[2]

    def load_weights(self, checkpoint: Path) -> None:
        """Put a checkpoint's weights into the module."""
        if not checkpoint.is_file():
            raise CheckpointError("the run has no such checkpoint", str(checkpoint), "Finish its stage=fit first")
        try:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"the checkpoint cannot be read: {reason}", str(checkpoint)) from error
        self.module.load_state_dict(state)

    @contextlib.contextmanager
    def ranks(self) -> Iterator[None]:
        with processes(self.trainer, self.settings["devices"]):
            yield

    def run_stage(self) -> dict[str, Any] | None:
        return instantiate(self.config["stage"])(self)


def run(config: DictConfig, overrides: Sequence[str], choices: Mapping[str, str]) -> dict[str, Any] | None:
    """Run one stage on rank 0: open or make its folder, prepare its corpus, write what the other ranks need."""
    stage = config.stage._target_.rpartition(".")[2]
    speak()
    if stage == "check":
        return check(config)
    fitting = stage == "fit"
    folder = open_folder(config, choices, fitting)
    started = time.monotonic()
    with logged(folder.log(0)):
        job = folder.config if fitting else folder.path / f".{stage}.{os.getpid()}.yaml"
        try:
            if fitting:
                folder.write_overrides(overrides)
                chosen = {group: choice for group, choice in choices.items() if "hydra" not in group}
                facts = {"seed": config.seed, "choices": chosen}
                folder.update_manifest(status="running", **facts, **provenance(command_line()))
            experiment = prepared(config, folder, job)
            results = experiment.run_stage()
            if fitting:
                folder.update_manifest(status="finished", wall_seconds=round(time.monotonic() - started, 2))
            return results
        except BaseException as error:
            (folder.path / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
            if fitting:
                status = "preempted" if isinstance(error, KeyboardInterrupt) else "failed"
                folder.update_manifest(status=status, wall_seconds=round(time.monotonic() - started, 2))
            if isinstance(error, Exception) and not isinstance(error, LmlabError):
                error.add_note(str(folder.path / "error.txt"))
            raise
        finally:
            if not fitting:
                job.unlink(missing_ok=True)
            finish_loggers()


def open_folder(config: DictConfig, choices: Mapping[str, str], fitting: bool) -> RunDirectory:
    if not fitting:
        if config.run.folder is None:
            raise ConfigError("this stage works on a finished run", "run", "Give its folder: run=<folder>")
        return RunDirectory(config.run.folder)
    folder = RunDirectory.new(config.run.output, f"{choices['model']}-{choices['data']}", config.run.id)
    config.run.folder = str(folder.path)
    return folder


def prepared(config: DictConfig, folder: RunDirectory, job: Path) -> Experiment:
    """The experiment with its corpus read, its classes and tokenizer known and written for all ranks to find."""
    if job != folder.config:
        config.data.tokenizer.path = str(folder.tokenizer)
    corpus = instantiate(OmegaConf.to_container(config.data, resolve=True), "data")
    corpus.prepare()
    if "classes" in config.data and config.data.classes is None:
        config.data.classes = list(corpus.classes)
    if job == folder.config:
        corpus.tokenizer.save(folder.tokenizer)
        folder.update_manifest(corpus=corpus.summary())
    plain = OmegaConf.to_container(config, resolve=True)
    folder.write_config(plain, job)
    experiment = Experiment(plain, folder, job)
    experiment.corpus = corpus
    return experiment


def check(config: DictConfig) -> None:
    """`stage=check` leaves no folder behind."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run_directory = RunDirectory(folder)
        config.run.folder = folder
        prepared(config, run_directory, run_directory.config).run_stage()


def instantiate(node: Mapping[str, Any], group: str = "") -> Any:
    """Hydra's instantiate behind the list of what a config may name (ARCHITECTURE, section 4)."""
    node = {key: value for key, value in node.items() if key not in METADATA.get(group, ())}
    for target in targets(node):
        if not allowed(target):
            raise ConfigError(f"{target!r} is not something a config may call", "_target_", "Only lmlab's own parts are")
    return hydra.utils.instantiate(node, _convert_="all")


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


def finish_loggers() -> None:
    """Close the W&B run, so that the next job of this process opens its own."""
    import wandb

    if wandb.run is not None:
        wandb.finish()

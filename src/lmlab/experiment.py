"""From a config to a corpus, a task, a network and a trainer: the only caller of Hydra's instantiate."""

import contextlib
import os
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import hydra.utils
import lightning.pytorch as pl
import torch
import wandb
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from lmlab import checkpointing, launched, machine, signals
from lmlab.callbacks.checkpoints import Checkpoints
from lmlab.callbacks.same_config import SameConfig
from lmlab.callbacks.stop_when_asked import StopWhenAsked
from lmlab.check import METADATA, allowed, is_unfinished
from lmlab.data.corpus import Corpus
from lmlab.distributed import DDP, processes
from lmlab.errors import CheckpointError, ConfigError, LmlabError, Stopped
from lmlab.module import LanguageModule
from lmlab.resuming import checkpoint_to_resume
from lmlab.run_directory import RunDirectory, command_line, provenance
from lmlab.terminal import logged, speak


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
        """Put a checkpoint's weights into the module."""
        if not checkpoint.exists():
            raise CheckpointError("the run has no such checkpoint", str(checkpoint), "Finish its stage=fit first")
        content = checkpointing.load(checkpoint)
        if differing := checkpointing.differences(content["state_dict"], self.module.state_dict()):
            then, now = (config.get("model", {}).get("_target_") for config in (content.get("config", {}), self.config))
            what = f"the checkpoint is of another model ({then}, here {now}): {'; '.join(differing[:3])}"
            raise CheckpointError(what, str(checkpoint), "Give the model the keys it was trained with")
        self.module.load_state_dict(content["state_dict"])

    def ranks(self) -> contextlib.AbstractContextManager[None]:
        """The time in which the trainer may run."""
        return processes(self.trainer, self.settings["devices"])

    def resume_from(self, checkpoint: Path) -> None:
        """Let the training stage of all ranks go on from a checkpoint."""
        self.config = {**self.config, "resume": str(checkpoint)}
        self.corpus.may_change = self.config["allow_change"]
        self.job = self.run.path / f".fit.{os.getpid()}.yaml"
        self.run.write_config(self.config, self.job)

    def run_stage(self) -> dict[str, Any] | None:
        launcher = self.config["trainer"]["launcher"]
        if launcher and not launched.rank(launcher):
            launched.announce(launcher, str(self.run.path), str(self.job))
        return instantiate(self.config["stage"])(self)


def run(config: DictConfig, overrides: Sequence[str], choices: Mapping[str, str]) -> dict[str, Any] | None:
    """Run one stage on rank 0: in a new folder, in a finished run's, or (stage=check) in one that nobody keeps."""
    speak()
    signals.listen()
    if config.data.get("path"):
        config.data.path = str(Path(config.data.path).expanduser().absolute())  # a later stage may start elsewhere
    machine.resolved(config.trainer)  # what this machine cannot do is told before a folder is made
    if rank := launched.rank(config.trainer.launcher):
        path, job = launched.announced(config.trainer.launcher)
        folder = RunDirectory(path)
        with logged(folder.log(rank)):
            return Experiment(folder.read_config(job), folder).run_stage()
    name = f"{choices['model']}-{choices['data']}"
    if (
        config.stage._target_.endswith(".fit")
        and not (config.resume or config.run.id)
        and (scheduled := launched.job_id())
    ):
        parent = Path(config.run.output) / name
        config.run.id, own = launched.own_folder(scheduled, parent, lambda path: is_unfinished(path, config))
        config.resume = own and str(own)
    match config.stage._target_.rpartition(".")[2]:
        case "fit" if config.resume:
            folder = RunDirectory(config.resume)
            config.run.folder = str(folder.path)
            with folder.held():
                return fitted(config, folder, overrides, choices)
        case "fit":
            folder = RunDirectory.new(config.run.output, name, config.run.id)
            config.run.folder = str(folder.path)
            with folder.held():
                return fitted(config, folder, overrides, choices)
        case "check":
            with tempfile.TemporaryDirectory() as nowhere:
                folder = RunDirectory(nowhere)
                config.run.folder = nowhere
                return prepared(config, folder, folder.config).run_stage()
        case stage:
            return later(config, RunDirectory(config.run.folder), stage)


def fitted(
    config: DictConfig, folder: RunDirectory, overrides: Sequence[str], choices: Mapping[str, str]
) -> dict[str, Any] | None:
    """The training stage of a run: its folder tells at any time how far it came, and why it ended."""
    started = time.monotonic()

    def close(status: str) -> None:
        folder.update_manifest(status=status, wall_seconds=round(time.monotonic() - started, 2))

    with logged(folder.log(0)), recorded(folder, config):
        try:
            resume, config.resume = config.resume, None
            if resume:
                begun = folder.read_manifest().get("resumed", [])
                folder.update_manifest(status="running", resumed=[*begun, command_line()])
            else:
                chosen = {group: choice for group, choice in choices.items() if "hydra" not in group}
                folder.write_overrides(overrides)
                folder.write_config(plain(config))  # a job that is killed while it reads its corpus can be resumed
                folder.update_manifest(status="running", seed=config.seed, choices=chosen, **provenance(command_line()))
            experiment = prepared(config, folder, folder.config)
            experiment.corpus.tokenizer.save(folder.tokenizer)
            folder.update_manifest(corpus=experiment.corpus.summary())
            if resume and (checkpoint := checkpoint_to_resume(folder)):
                experiment.resume_from(checkpoint)
            results = experiment.run_stage()
        except BaseException as error:
            with contextlib.suppress(OSError):
                close("preempted" if isinstance(error, Stopped | KeyboardInterrupt) else "failed")
            if isinstance(error, Stopped):
                error.run = folder.path
            raise
        close("pruned" if experiment.stage == "fit" and experiment.pruned else "finished")
        (folder.path / "error.txt").unlink(missing_ok=True)  # of an attempt before
        return results


def later(config: DictConfig, folder: RunDirectory, stage: str) -> dict[str, Any] | None:
    """A stage on a finished run: its tokenizer is the run's, its config lives as long as the stage."""
    job = folder.path / f".{stage}.{os.getpid()}.yaml"
    config.data.tokenizer.path = str(folder.tokenizer)
    with logged(folder.log(0)), recorded(folder, config, f"{stage}.error.txt"):
        try:
            return prepared(config, folder, job).run_stage()
        finally:
            job.unlink(missing_ok=True)


@contextlib.contextmanager
def recorded(folder: RunDirectory, config: DictConfig, file: str = "error.txt") -> Iterator[None]:
    """Leaves the traceback of a failure in the run folder, and closes the W&B run either way."""
    try:
        yield
    except Exception as error:
        record = folder.path / file
        with contextlib.suppress(OSError):
            record.write_text(traceback.format_exc(), encoding="utf-8")
        if advice := machine.out_of_memory(error, config):
            raise advice from error
        if not isinstance(error, LmlabError):
            error.add_note(str(record))
        raise
    finally:
        if wandb.run is not None:
            wandb.finish()


def prepared(config: DictConfig, folder: RunDirectory, job: Path) -> Experiment:
    """The experiment with its corpus read, its classes known, and its config in `job` for all ranks to find."""
    corpus = instantiate(plain(config.data), "data")
    corpus.prepare()
    if config.data.get("classes", ()) is None:
        config.data.classes = list(corpus.classes)
    folder.write_config(plain(config), job)
    experiment = Experiment(plain(config), folder, job)
    experiment.corpus = corpus
    return experiment


def plain(config: DictConfig) -> dict[str, Any]:
    """The config in plain types, interpolations resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))


def instantiate(node: Mapping[str, Any], group: str = "") -> Any:
    """Hydra's instantiate behind the list of what a config may name (ARCHITECTURE, section 4)."""
    node = {key: value for key, value in node.items() if key not in METADATA.get(group, ())}
    for target in targets(node):
        if not allowed(target):
            raise ConfigError(
                f"{target!r} is not something a config may call", "_target_", "Only lmlab's own parts are"
            )
    try:
        return hydra.utils.instantiate(node, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, LmlabError):
            raise error.__cause__ from None
        raise


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

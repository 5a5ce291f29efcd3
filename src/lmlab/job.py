"""One job on rank 0: which folder it works in, what that folder tells of it, and how it ends."""

import contextlib
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from omegaconf import DictConfig

from lmlab import launched, machine, memory, signals
from lmlab.check import FIRST_STAGES, is_unfinished
from lmlab.errors import LmlabError, Stopped
from lmlab.experiment import Experiment, complete, instantiate, plain, refuse_other_weights
from lmlab.names import run_name
from lmlab.resuming import checkpoint_to_resume
from lmlab.run_directory import RunDirectory, command_line, provenance
from lmlab.terminal import logged, speak


def run(config: DictConfig, overrides: Sequence[str], choices: Mapping[str, str]) -> dict[str, Any] | None:
    """Run one stage on rank 0: in a new folder, in a finished run's, or (stage=check) in one that nobody keeps."""
    speak()
    signals.listen()
    if config.data.get("path"):
        config.data.path = str(Path(config.data.path).expanduser().absolute())  # a later stage may start elsewhere
    machine.resolved(config.trainer)  # what this machine cannot do is told before a folder is made
    if rank := launched.rank(config.trainer.launcher):
        return followed(config.trainer.launcher, rank)
    stage = config.stage._target_.rpartition(".")[2]
    if stage in FIRST_STAGES:
        complete(config)
    match stage:
        case "fit":
            machine.refuse_compiling(config.trainer)
            refuse_other_weights(config)
            folder = training_folder(config, run_name(choices))
            config.run.folder = str(folder.path)
            with folder.held():
                return fitted(config, folder, overrides, choices)
        case "check":
            with tempfile.TemporaryDirectory() as nowhere:
                folder = RunDirectory(nowhere)
                config.run.folder = nowhere
                return prepared(config, folder, folder.config).run_stage()
        case _:
            return later(config, RunDirectory(config.run.folder), stage)


def followed(launcher: str, rank: int) -> dict[str, Any] | None:
    """What a further rank does that somebody else has started: the stage that rank 0 announces."""
    path, job = launched.announced(launcher)
    folder = RunDirectory(path)
    with logged(folder.log(rank)):
        return Experiment(folder.read_config(job), folder).run_stage()


def training_folder(config: DictConfig, name: str) -> RunDirectory:
    """The folder to go on in, if one was named or this scheduled job has left one; else a new one."""
    if not (config.resume or config.run.id) and (scheduled := launched.job_id()):
        parent = Path(config.run.output) / name
        config.run.id, own = launched.own_folder(scheduled, parent, lambda path: is_unfinished(path, config))
        config.resume = own and str(own)
    return RunDirectory(config.resume) if config.resume else RunDirectory.new(config.run.output, name, config.run.id)


def fitted(
    config: DictConfig, folder: RunDirectory, overrides: Sequence[str], choices: Mapping[str, str]
) -> dict[str, Any] | None:
    """The training stage of a run: its folder tells at any time how far it came, and why it ended."""
    started = time.monotonic()

    def close(status: str) -> None:
        folder.update_manifest(status=status, wall_seconds=round(time.monotonic() - started, 2))

    with logged(folder.log(0)), recorded(folder, config), folder.job_files():
        try:
            resume, config.resume = config.resume, None
            if resume:
                begun = folder.read_manifest().get("resumed", [])
                folder.update_manifest(status="running", resumed=[*begun, command_line()])
                if folder.tokenizer.exists():
                    config.data.tokenizer.path = str(folder.tokenizer)
            else:
                chosen = {group: choice for group, choice in choices.items() if "hydra" not in group}
                folder.write_overrides(overrides)
                folder.write_config(plain(config))  # a job that is killed while it reads its corpus can be resumed
                folder.update_manifest(status="running", seed=config.seed, choices=chosen, **provenance(command_line()))
            experiment = prepared(config, folder, folder.config)
            experiment.corpus.save_tokenizers(folder.tokenizer)
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
        close("pruned" if experiment.pruned else "finished")
        (folder.path / "error.txt").unlink(missing_ok=True)  # of an attempt before
        return results


def later(config: DictConfig, folder: RunDirectory, stage: str) -> dict[str, Any] | None:
    """A stage on a finished run: its tokenizer is the run's, its config lives as long as the stage."""
    config.data.tokenizer.path = str(folder.tokenizer)
    for part in config.callbacks.values():
        if part and "folder" in part:
            part.folder = str(folder.path)  # the run may have been moved since, or be called from elsewhere
    with logged(folder.log(0)), recorded(folder, config, f"{stage}.error.txt"), folder.job_files():
        return prepared(config, folder, folder.job_file(stage)).run_stage()


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
    """The experiment with its corpus read, its classes known and weighed, its config in `job` for all ranks to find."""
    corpus = instantiate(plain(config.data), "data")
    corpus.prepare()
    if config.data.get("classes", ()) is None and corpus.classes is not None:
        config.data.classes = list(corpus.classes)
    if config.task.get("class_weights") == "balanced":
        config.task.class_weights = corpus.class_weights
    experiment = Experiment(plain(config), folder, job)
    experiment.corpus = corpus
    if experiment.stage in FIRST_STAGES and config.trainer.get("batch_tokens") == "auto":
        config.trainer.batch_tokens = memory.tokens_at_once(experiment)
        experiment.config = plain(config)
        del experiment.settings
    folder.write_config(plain(config), job)
    return experiment

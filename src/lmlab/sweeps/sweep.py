"""A sweep from its start to its table: what both of our Hydra sweepers do."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from lmlab import check
from lmlab.check.nearest import nearest
from lmlab.check.unknown_key import keys
from lmlab.check.yaml_files import groups
from lmlab.errors import ConfigError, JobsFailed
from lmlab.names import run_name
from lmlab.sweeps import records, table
from lmlab.sweeps.jobs import parallel
from lmlab.sweeps.processes import RUN, SWEEP

NOT_THE_SEARCH = {"name", "job", "on_error", "n_trials", "n_parallel"}  # a repeated command may change these


@contextlib.contextmanager
def concluded(config: DictConfig, name: str) -> Iterator[Path]:
    """The time in which jobs run; afterwards, however it ended, their table. Raises JobsFailed if one failed."""
    check.sweep_keys(config.sweep)
    OmegaConf.update(config, "sweep.name", name)
    folder = records.sweep_folder(config.run.output, name)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ConfigError(
            "this sweep is running already", str(folder), "Wait for it, or choose a sweep.name="
        ) from None
    path = os.pathsep.join(filter(None, (str(RUN.parent), os.environ.get("PYTHONPATH"))))
    os.environ |= {SWEEP: str(os.getpid()), "PYTHONPATH": path}  # a launcher's workers find this package, and us
    before = {record["job"] for record in records.read(folder)}
    try:
        yield folder
    finally:
        table.conclude(folder, config.task.monitor, config.task.mode)
        lock.release()
    new = [record for record in records.read(folder) if record["job"] not in before]
    if failed := next((record["exit_code"] for record in new if record.get("exit_code")), 0):
        raise JobsFailed(failed)


def search(config: DictConfig, arguments: Sequence[str], launch: Callable[..., Any]) -> None:
    """Run the trials that the study still lacks."""
    check.composed(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]), arguments)
    from lmlab.sweeps.search import Search
    from lmlab.sweeps.space import search_space

    if config.stage._target_.rpartition(".")[2] != "fit":
        raise ConfigError("a search compares trainings", "stage", "Use stage=fit")
    settings: Any = OmegaConf.to_container(config.sweep, resolve=True)
    n_parallel = settings["n_parallel"] or parallel(config.hydra.launcher)
    space, fixed = search_space(settings["space"], OverridesParser.create().parse_overrides(list(arguments)))
    refuse_unknown(space, config)
    with concluded(config, settings["name"] or name_of(config, settings, arguments)) as folder:

        def launch_all(batch: list[list[str]]) -> None:
            launch([[*overrides, f"sweep.name={folder.name}"] for overrides in batch], initial_job_idx=0)

        Search(folder, settings, space, config.task.mode).run(fixed, launch_all, n_parallel)


def refuse_unknown(space: Iterable[str], config: DictConfig) -> None:
    """Raises ConfigError for a key of the space that is neither in the config nor a group."""
    known = dict(keys(cast(dict[str, Any], OmegaConf.to_container(config))))
    for key in space:
        if not key.startswith("+") and key not in known and key not in groups():
            guess = nearest(key, known)
            fix = f"Did you mean {guess}?" if guess else ""
            raise ConfigError(f"unknown key {key}", "sweep.space", fix)


def name_of(config: DictConfig, settings: dict[str, Any], arguments: Sequence[str]) -> str:
    """`<model>-<data>-<8 hex>`, a function of the command alone: repeated, it finds its study."""
    lasting = {key: value for key, value in settings.items() if key not in NOT_THE_SEARCH}
    ignored = tuple(f"sweep.{key}=" for key in NOT_THE_SEARCH)
    typed = sorted(argument for argument in arguments if not argument.startswith(ignored))
    digest = hashlib.sha256(json.dumps([typed, lasting], sort_keys=True).encode()).hexdigest()
    return f"{run_name(config.hydra.runtime.choices)}-{digest[:8]}"

"""Processes that somebody else has started: torchrun and SLURM call `src/run.py` once for each rank.

Rank 0 composes, checks and makes the run folder, as ever; it then tells the others which folder and config file to
read (they share a file system), so that a job has one folder however it was started.
"""

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment, TorchElasticEnvironment
from lightning.fabric.utilities.distributed import _init_dist_connection
from lightning.pytorch.plugins.environments import SLURMEnvironment

from lmlab.errors import ConfigError

FIX = "Start it with the program that trainer= names"


def cluster(launcher: str | None) -> ClusterEnvironment:
    """Who tells a rank its number and the address of rank 0; `launcher` is torchrun, slurm or None for our own."""
    started_by_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    if launcher == "torchrun":
        if not started_by_torchrun:
            raise ConfigError("this process was not started by torchrun", "trainer=torchrun", FIX)
        return TorchElasticEnvironment()
    if launcher == "slurm":
        if "SLURM_PROCID" not in os.environ:
            raise ConfigError("this process was not started by srun", "trainer=slurm", FIX)
        return SLURMEnvironment(auto_requeue=False)  # Lightning's own requeueing saves inside a signal handler
    if started_by_torchrun and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ConfigError("torchrun has started several processes", "trainer", "Use trainer=torchrun")
    return LightningEnvironment()


def rank(launcher: str | None) -> int:
    return cluster(launcher).global_rank() if launcher else 0


def connected(launcher: str) -> None:
    """Join the process group that the trainer will find."""
    environment = cluster(launcher)
    if torch.cuda.is_available():
        torch.cuda.set_device(environment.local_rank())
    _init_dist_connection(environment, "nccl" if torch.cuda.is_available() else "gloo")


def announce(launcher: str, *message: str) -> None:
    """On rank 0: tell all ranks."""
    connected(launcher)
    dist.broadcast_object_list(list(message), src=0)


def announced(launcher: str) -> list[Path]:
    """On another rank: wait for what rank 0 announces."""
    connected(launcher)
    message: list[Any] = [None, None]
    dist.broadcast_object_list(message, src=0)
    return [Path(part) for part in message]


def job_id() -> str | None:
    """A name that a job keeps when its scheduler starts it again; None where nobody schedules."""
    names = os.environ
    if "SLURM_JOB_ID" in names:
        array = "_".join(filter(None, (names.get("SLURM_ARRAY_JOB_ID"), names.get("SLURM_ARRAY_TASK_ID"))))
        return f"slurm-{array or names['SLURM_JOB_ID']}"
    if names.get("TORCHELASTIC_RUN_ID", "none") not in ("none", ""):
        return f"torchrun-{names['TORCHELASTIC_RUN_ID']}"
    return f"ray-{names['RAY_JOB_ID']}" if "RAY_JOB_ID" in names else None


def own_folder(job: str, parent: Path, is_own: Callable[[Path], bool]) -> tuple[str, Path | None]:
    """(run id, folder to go on with) of a scheduled job: what it left when it was stopped, else a name still free."""
    names = (f"{job}-{number}" if number else job for number in count())
    name = next(name for name in names if is_own(parent / name) or not (parent / name).exists())
    return name, parent / name if (parent / name).exists() else None

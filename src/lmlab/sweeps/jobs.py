"""One job of a sweep, seen from the process that starts it; any Hydra launcher may call it."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from lmlab.sweeps import records
from lmlab.sweeps.processes import in_own_process, own_share


def start(cfg: DictConfig, hydra: DictConfig, arguments: Sequence[str]) -> float | None:
    """Run `python src/run.py <arguments>`, the job that a Hydra launcher asks for; returns its objective."""
    folder = records.sweep_folder(cfg.run.output, cfg.sweep.name)
    number = hydra.job.num if cfg.sweep.job is None else cfg.sweep.job
    shown = records.typed(arguments)
    grid = cfg.sweep.job is None  # a search numbers its trials, and stops by itself
    if grid and cfg.sweep.on_error == "stop" and any(record.get("exit_code") for record in records.read(folder)):
        return None
    print(f"job {number}: {' '.join(shown)}", file=sys.stderr)
    records.remove(folder, number)
    started = time.monotonic()
    added = [f"sweep.name={folder.name}", f"sweep.job={number}"]
    with own_share(folder, parallel(hydra.launcher)) as environment:
        code = in_own_process([*shown, *added], environment)
    record = records.update(folder, number, overrides=shown, exit_code=code)
    status = records.status(record.get("run"), code)
    records.update(folder, number, status=status, seconds=round(time.monotonic() - started, 2))
    if code == 137:
        print(f"error: job {number} was killed (out of memory?).", file=sys.stderr)
    if code in (130, 143):
        raise KeyboardInterrupt if code == 130 else SystemExit(code)
    return record.get("objective")


def parallel(launcher: Mapping[str, Any]) -> int:
    """How many jobs a launcher runs on this machine at a time; on a cluster each job has a machine to itself."""
    n_jobs = launcher.get("n_jobs") or 1
    return n_jobs if n_jobs > 0 else max(1, (os.cpu_count() or 1) + 1 + n_jobs)

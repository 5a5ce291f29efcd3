"""What each job of a sweep came to: a JSON file in <sweep folder>/jobs, whichever process or machine ran it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmlab.run_directory import RunDirectory, read_json, replace

BOOKKEEPING = ("sweep.name=", "sweep.job=")  # overrides that a sweep adds to those of its jobs
COSTS = {"training_seconds": "fit/seconds", "parameters": "fit/parameters"}
# job, overrides, status, exit_code, monitor, mode, objective, scores, seconds, run, and what COSTS names
Record = dict[str, Any]


def sweep_folder(output: str, name: str) -> Path:
    return Path(output) / "sweeps" / name


def update(folder: Path, job: int, **facts: Any) -> Record:
    """Add facts to a job's record: the job itself knows its run and objective, who started it the rest."""
    path = folder / "jobs" / f"{job}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {**read_json(path), "job": job, **facts}
    replace(path, json.dumps(record, indent=2) + "\n")
    return record


def read(folder: Path) -> list[Record]:
    """All records, in the order of the jobs."""
    return sorted((read_json(path) for path in (folder / "jobs").glob("*.json")), key=lambda record: record["job"])


def remove(folder: Path, job: int) -> None:
    (folder / "jobs" / f"{job}.json").unlink(missing_ok=True)


def facts(results: object, monitor: str) -> dict[str, float | None]:
    """What a sweep compares of a stage's results: the objective and what it cost.

    The objective is the monitored number, by its full name, else by its last part (test/accuracy).
    """
    if not (values := numbers(results)):
        return {"objective": None}
    leaf = monitor.rpartition("/")[2]
    near = (value for name, value in values.items() if name.rpartition("/")[2] == leaf)
    costs = {fact: values[name] for fact, name in COSTS.items() if name in values}
    return {"objective": values.get(monitor, next(near, None)), **costs}


def numbers(results: object) -> dict[str, float]:
    """All numbers of a stage's results, if it has any."""
    parts = results.values() if isinstance(results, Mapping) else ()
    return {name: value for part in parts if isinstance(part, Mapping) for name, value in part.items()}


def scores(results: object, task: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a stage's results that answers to a task are judged by, the monitored one first."""
    leaves = dict.fromkeys((task["monitor"].partition("/")[2], *task.get("metrics", ())))
    names = [f"{split}/{leaf}" for split in ("val", "test") for leaf in leaves]
    values = numbers(results)
    return {name: values[name] for name in names if name in values}


def status(run: str | None, exit_code: int) -> str:
    """finished, pruned, failed or interrupted."""
    if exit_code:
        return "interrupted" if exit_code in (130, 143) else "failed"
    pruned = run is not None and read_json(RunDirectory(run).manifest).get("status") == "pruned"
    return "pruned" if pruned else "finished"


def typed(overrides: Sequence[str]) -> list[str]:
    """Overrides without those that the sweep added."""
    return [override for override in overrides if not override.startswith(BOOKKEEPING)]


def values_of(row: Record) -> dict[str, str]:
    """Key -> value of a job's overrides."""
    pairs = (override.lstrip("+~").partition("=") for override in row["overrides"])
    return {key: value for key, _, value in pairs}

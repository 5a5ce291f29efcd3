"""One run is one folder: its identity, its layout, what is written when (ARCHITECTURE, section 6)."""

import contextlib
import json
import os
import platform
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from lmlab.errors import ConfigError, DiskError

PACKAGES = ("torch", "lightning", "hydra-core", "omegaconf", "torchmetrics", "tokenizers", "wandb", "datasets", "numpy")


class RunDirectory:
    """The folder of a run; rank 0 writes it, every later stage needs nothing else."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.started = time.monotonic()

    @classmethod
    def new(cls, output: str, name: str, run_id: str | None = None) -> "RunDirectory":
        """A folder that no other run has: its making fails if it is there already."""
        path = Path(output) / name / (run_id or f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError:
            if run_id is None:  # two jobs in one second drew the same suffix
                return cls.new(output, name)
            raise ConfigError("a run of this name exists already", str(path), "Choose another run.id") from None
        except OSError as error:
            raise DiskError(f"the run folder cannot be made: {error.strerror}", str(path), "Set run.output=") from None
        return cls(path)

    config = property(lambda self: self.path / "config.yaml")
    tokenizer = property(lambda self: self.path / "tokenizer.json")
    checkpoints = property(lambda self: self.path / "checkpoints")
    plots = property(lambda self: self.path / "plots")
    predictions = property(lambda self: self.path / "predictions")
    manifest = property(lambda self: self.path / "manifest.json")
    metrics = property(lambda self: self.path / "metrics.json")
    metrics_csv = property(lambda self: self.path / "metrics.csv")

    def log(self, rank: int) -> Path:
        return self.path / ("run.log" if rank == 0 else f"run.rank{rank}.log")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The time in which no other process may train in this folder; a killed one holds it no longer."""
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise ConfigError("another process is training in this run folder", str(self.path), "Stop it") from None
        try:
            for left in self.path.glob(".fit.*.yaml"):
                left.unlink()
            yield
        finally:
            lock.release()

    def job_file(self, stage: str) -> Path:
        """Where the ranks of a stage read their config, if it is not the run's own."""
        return self.path / f".{stage}.{os.getpid()}.yaml"

    @contextlib.contextmanager
    def job_files(self) -> Iterator[None]:
        """The time in which this process needs its job files."""
        try:
            yield
        finally:
            for file in self.path.glob(f".*.{os.getpid()}.yaml"):
                file.unlink()

    def write_config(self, config: Mapping[str, Any], file: Path | None = None) -> None:
        replace(file or self.config, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))

    def read_config(self, file: Path | None = None) -> dict[str, Any]:
        return yaml.safe_load((file or self.config).read_text(encoding="utf-8"))

    def write_overrides(self, overrides: Sequence[str]) -> None:
        replace(self.path / "overrides.yaml", yaml.safe_dump(list(overrides), allow_unicode=True))

    def read_manifest(self) -> dict[str, Any]:
        return read_json(self.manifest)

    def update_manifest(self, **facts: Any) -> None:
        replace(self.manifest, json.dumps(read_json(self.manifest) | facts, indent=2, ensure_ascii=False) + "\n")

    def update_metrics(
        self, stage: str, values: Mapping[str, float], measured_by: Mapping[str, str] | None = None
    ) -> None:
        """Set the final numbers of `stage`, leaving those of the others; the manifest tells what they were measured
        by, where a metric's name does not."""
        replace(self.metrics, json.dumps(read_json(self.metrics) | {stage: dict(values)}, indent=2) + "\n")
        if measured_by:
            told = self.read_manifest().get("measured_by", {})
            self.update_manifest(measured_by=told | {stage: dict(measured_by)})


def replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def provenance(command: Sequence[str]) -> dict[str, Any]:
    """What a run came from: command, code, versions, machine."""
    return {
        "command": list(command),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_state(),
        "versions": {"python": platform.python_version()} | {name: installed(name) for name in PACKAGES},
        "hardware": hardware(),
    }


def git_state() -> dict[str, str] | None:
    """Commit and uncommitted change of the code that runs; None outside a checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True).stdout

    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return {"sha": git("rev-parse", "HEAD").strip(), "diff": git("diff", "HEAD", "--", str(here))[:200_000]}
    return None


def installed(package: str) -> str | None:
    with contextlib.suppress(PackageNotFoundError):
        return version(package)
    return None


def hardware() -> dict[str, Any]:
    import torch

    facts: dict[str, Any] = {"machine": platform.machine(), "system": platform.platform(), "cores": os.cpu_count()}
    facts["processor"] = torch.cpu.get_capabilities().get("cpu_name") or platform.processor()
    facts["gpus"] = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return facts


def command_line() -> list[str]:
    return ["python", *sys.argv]

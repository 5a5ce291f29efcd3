"""metrics.csv: every logged step of a training, whatever other loggers there are and however often it was resumed."""

import csv
import os
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from lmlab.ranges import PositiveInt


class Appending(ExperimentWriter):
    """Goes on with the file it finds; Lightning's own deletes it."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        if Path(self.metrics_file_path).exists():
            with open(self.metrics_file_path, newline="", encoding="utf-8") as file:
                self.metrics_keys = next(csv.reader(file), [])

    def _check_log_dir_exists(self) -> None:
        """A run folder holds other things too."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with open(self.metrics_file_path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        write(Path(self.metrics_file_path), fieldnames, rows)


class MetricsCsv(CSVLogger):
    """Lightning's CSV logger, appending."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = Appending(log_dir=self.log_dir)
        return self._experiment


def make(folder: str, *, flush_logs_every_n_steps: PositiveInt = 50) -> MetricsCsv:
    """A logger that writes `<folder>/metrics.csv`, with no name or version folder between."""
    return MetricsCsv(folder, name="", version="", flush_logs_every_n_steps=flush_logs_every_n_steps)


def rewind(path: Path, steps: int, validation_due: bool) -> None:
    """Forget what was logged after `steps` optimizer steps, and their validation if it is to be run again."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows, header = list(reader), list(reader.fieldnames or [])
    kept = [row for row in rows if (row.get("step") or "").isdigit() and int(row["step"]) < steps]
    if validation_due:
        kept = [row for row in kept if int(row["step"]) < steps - 1 or not row.get("val/loss")]
    write(path, header, kept)


def write(path: Path, header: list[str], rows: list[dict[str, Any]]) -> None:
    """The whole table in one step: a killed process leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=header)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)

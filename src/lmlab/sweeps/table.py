"""All runs of a sweep side by side, the best first: on the terminal, in sweep.csv, as plots."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from lmlab.sweeps import records
from lmlab.sweeps.records import Record, values_of
from lmlab.terminal import print_columns

COLUMNS = ("job", "status", "exit_code", "objective", "seconds", *records.COSTS, "run")


def conclude(folder: Path, monitor: str, mode: str) -> None:
    """Write sweep.csv and the plots of what has run so far, and print the table."""
    rows = by_objective(records.read(folder), mode)
    if not rows:
        return
    searched = varied(rows)
    path = folder / "sweep.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, *searched, "overrides"])
        for row in rows:
            values = values_of(row)
            facts = [*(row.get(name) for name in COLUMNS), *(values.get(key) for key in searched)]
            writer.writerow([*facts, " ".join(row["overrides"])])
    costs = [name for name in records.COSTS if len({row.get(name) for row in rows} - {None}) > 1]
    shown = [
        [
            *(str(row["job"]), row["status"], number(row.get("objective"))),
            *("" if row.get(name) is None else f"{row[name]:,.0f}" for name in costs),
            *map(short, pick(row, searched)),
        ]
        for row in rows
    ]
    print_columns("Sweep", ["job", "status", monitor, *(name.replace("_", " ") for name in costs), *searched], shown)
    print(f"table        {path}")
    if any(row.get("objective") is not None for row in rows):
        from lmlab.sweeps.plots import draw

        draw(folder / "plots", rows, searched, monitor, mode)
        print(f"plots        {folder / 'plots'}")


def by_objective(rows: Sequence[Record], mode: str) -> list[Record]:
    """Finished jobs from best to worst, then pruned ones, then those without a number."""

    def rank(row: Record) -> tuple[int, float, int]:
        value = row.get("objective")
        if value is None or math.isnan(value):
            return 2, 0.0, row["job"]
        return int(row["status"] != "finished"), -value if mode == "max" else value, row["job"]

    return sorted((row for row in rows if "status" in row), key=rank)


def pick(row: Record, keys: Sequence[str]) -> list[str]:
    values = values_of(row)
    return [values.get(key, "") for key in keys]


def varied(rows: Sequence[Record]) -> list[str]:
    """The keys that differ between jobs, in the order in which they were typed."""
    all_values = [values_of(row) for row in rows]
    keys = dict.fromkeys(key for values in all_values for key in values if not key.startswith("sweep"))
    return [key for key in keys if len({values.get(key) for values in all_values}) > 1]


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def short(value: str) -> str:
    """A number in four digits, all else as it is."""
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value

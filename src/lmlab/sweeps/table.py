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
    """Write sweep.csv and the plots of what has run so far, and print the table; `monitor` and `mode` are those of jobs
    that do not say. Jobs that are judged by different numbers are no contest: they stay in order, without plots."""
    rows = [row for row in records.read(folder) if "status" in row]
    if not rows:
        return
    judged = {(row["monitor"], row["mode"]) for row in rows if "monitor" in row} or {(monitor, mode)}
    contest = len(judged) == 1
    if contest:
        [(monitor, mode)] = judged
        rows = by_objective(rows, mode)
    searched = varied(rows)
    facts = [*COLUMNS, *([] if contest else ["monitor"])]
    path = folder / "sweep.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*facts, *searched, "overrides"])
        for row in rows:
            values = values_of(row)
            told = [*(row.get(name) for name in facts), *(values.get(key) for key in searched)]
            writer.writerow([*told, " ".join(row["overrides"])])
    costs = [name for name in records.COSTS if len({row.get(name) for row in rows} - {None}) > 1]
    print_columns("Sweep", *(ranking(rows, monitor, costs, searched) if contest else overview(rows, searched)))
    print(f"table        {path}")
    if contest and any(row.get("objective") is not None for row in rows):
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


Cells = tuple[list[str], list[list[str]]]  # header and rows


def ranking(rows: Sequence[Record], monitor: str, costs: Sequence[str], searched: Sequence[str]) -> Cells:
    """What jobs have reached, what it cost, and what was different."""
    header = ["job", "status", monitor, *(name.replace("_", " ") for name in costs), *searched]
    return header, [
        [
            *(str(row["job"]), row["status"], number(row.get("objective"))),
            *(whole(row.get(name)) for name in costs),
            *map(short, pick(row, searched)),
        ]
        for row in rows
    ]


def overview(rows: Sequence[Record], searched: Sequence[str]) -> Cells:
    """Jobs side by side with what each is judged by, on the splits that were scored."""
    splits = [split for split in ("val", "test") if any(told_of(row, split) for row in rows)]
    header = ["job", "status", *searched, "metric", *splits, "training seconds"]
    return header, [
        [
            *(str(row["job"]), row["status"], *map(short, pick(row, searched))),
            " / ".join(dict.fromkeys(name.partition("/")[2] for name in row.get("scores", {}))),
            *(" / ".join(map(number, told_of(row, split))) for split in splits),
            whole(row.get("training_seconds")),
        ]
        for row in rows
    ]


def told_of(row: Record, split: str) -> list[float]:
    return [value for name, value in row.get("scores", {}).items() if name.startswith(f"{split}/")]


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


def whole(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def short(value: str) -> str:
    """A number in four digits, all else as it is."""
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value

"""A made-up corpus of queries and documents: each query asks for one thing, which one document is about."""

import csv
from collections.abc import Sequence
from pathlib import Path

THINGS = ["cat", "dog", "cow", "hen", "fox", "iron", "zinc", "lead", "gold", "tin"]
PLACES = ["paris", "rome", "oslo", "bern", "kyiv", "riga"]
COLUMNS = ("query", "document", "negative")


def asked(n: int) -> list[tuple[str, str, str]]:
    """A thing and a place; a text about both; a text about the same thing elsewhere."""
    told = [(THINGS[row % 10], PLACES[row // 10 % 6], PLACES[(row // 10 + 1) % 6]) for row in range(n)]
    return [
        (f"a {thing} from {place}", f"in {place} they have a fine {thing}", f"in {other} they have a fine {thing}")
        for thing, place, other in told
    ]


def write_asked(path: Path, n: int = 40, columns: Sequence[str] = COLUMNS[:2]) -> Path:
    """A csv file, or a folder with the same rows as train, val and test."""
    files = [path] if path.suffix else [path / f"{split}.csv" for split in ("train", "val", "test")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", newline="", encoding="utf-8") as opened:
            csv.writer(opened).writerows([columns, *(row[: len(columns)] for row in asked(n))])
    return path

"""Made-up pairs of texts in the layouts that corpora of them are read from."""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"  # beside the project, never part of it

NUMBERS = ("one two three four five six seven eight nine ten", "eins zwei drei vier fünf sechs sieben acht neun zehn")
ENGLISH, GERMAN = (words.split() for words in NUMBERS)


def pairs(n: int, begin: int = 0) -> list[tuple[str, str]]:
    """Numbers in German and in English, digit by digit, each pair another one."""
    digits = [[int(digit) for digit in str(1000 + row)] for row in range(begin, begin + n)]
    return [(" ".join(GERMAN[i] for i in some), " ".join(ENGLISH[i] for i in some)) for some in digits]


def write_lines(path: Path, lines: Sequence[str], encoding: str = "utf-8") -> Path:
    raw = "".join(f"{line}\n" for line in lines).encode(encoding)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def write_folder(folder: Path, sizes: dict[str, int], ending: str = "") -> Path:
    """train.de beside train.en and so on, of as many lines."""
    begin = 0
    for split, size in sizes.items():
        for language, side in zip(("de", "en"), zip(*pairs(size, begin), strict=True), strict=True):
            write_lines(folder / f"{split}.{language}{ending}", side)
        begin += size
    return folder


def write_table(path: Path, columns: tuple[str, str], n: int = 60) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *pairs(n)])
    return path

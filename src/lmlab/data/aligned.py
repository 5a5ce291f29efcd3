"""Pairs of texts in two files, of which line n of one belongs to line n of the other (Koehn, 2005)."""

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

from lmlab.data import tables
from lmlab.data.rows import Row, Splits
from lmlab.errors import DataError, InputMissing


def rows(source: Path, target: Path, encoding: str) -> list[Row]:
    """A row for each line; raises DataError if one file has more of them."""
    sides = [lines(file, encoding) for file in (source, target)]
    counts = [len(side) for side in sides]
    if counts[0] != counts[1]:
        raise DataError(
            f"{source.name} has {counts[0]:,} lines and {target.name} has {counts[1]:,}",
            f"{source}, {target}",
            "Line n of one must belong to line n of the other: give the two files of one corpus",
        )
    return [Row(text, None, f"{source} line {n}", pair) for n, (text, pair) in enumerate(zip_longest(*sides), 1)]


def lines(file: Path, encoding: str) -> list[str]:
    """The lines of a text file or a .gz of one, whatever its name ends in (train.de)."""
    if not file.is_file():
        raise InputMissing("file not found", str(file.absolute()), "Each file of a pair of languages is needed")
    with tables.opened(file) as content:
        found = [line.rstrip("\r\n") for line in tables.lines(content, str(file), encoding)]
    if not found:
        raise DataError(f"{file.name} is empty", str(file), "Give a file with lines")
    return found


def splits(folder: Path, languages: tuple[str, str], names: Mapping[str, str], encoding: str) -> Splits:
    """The splits whose files lie in a folder, train.de beside train.en or either as .gz; `names` says what the first
    part of a file's name stands for. Empty if there is no such file."""
    found: dict[str, tuple[Path, Path]] = {}
    for file in sorted(folder.iterdir()):
        stem, _, ending = tables.unzipped(file).name.rpartition(".")
        split = names.get(stem.lower())
        if split is None or ending not in languages:
            continue
        source, target = (sibling(folder, f"{stem}.{language}") for language in languages)
        if found.setdefault(split, (source, target)) != (source, target):
            names_of_both = f"{found[split][0].name} and {source.name}"
            raise DataError(f"both {names_of_both} are the {split} split", str(folder), "Keep one")
    return {split: rows(*pair, encoding) for split, pair in found.items()}


def sibling(folder: Path, name: str) -> Path:
    """The file, or the .gz of it where there is but that."""
    packed = folder / f"{name}.gz"
    return packed if packed.is_file() and not (folder / name).is_file() else folder / name

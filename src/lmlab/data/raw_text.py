"""Raw text of any size: read piece by piece, cut into splits where documents end, stored as labelled rows are."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmlab.data import tables
from lmlab.data.columns import words
from lmlab.data.ragged import Ragged, RaggedWriter
from lmlab.data.sources import SPLIT_NAMES, loaded
from lmlab.errors import DataError, InputMissing

log = logging.getLogger(__name__)

PIECE = 2**18  # characters, or more up to a line's end, that are read and tokenized as one
ENDINGS = (".txt", ".jsonl")


class Piece(NamedTuple):
    """A document, or a part of one that is too long to be held as a whole."""

    text: str
    continues: bool = False  # with what came before


Texts = dict[str, Iterable[Piece]]  # by "train", "val", "test"


def files(path: Path, column: str, encoding: str, split: str | None = None) -> Texts:
    """The splits at `path`: a file (txt: one document; jsonl: one a line; either .gz), or a folder of such files,
    named after the splits or all of them training text."""
    if not path.exists():
        raise InputMissing("data.path= not found", str(path.absolute()), "Check the path")
    found = [path] if path.is_file() else sorted(file for file in path.rglob("*") if kind(file))
    if not found:
        listed = ", ".join(sorted(part.name for part in path.iterdir())[:8]) or "nothing"
        raise InputMissing("no .txt or .jsonl file (or .gz of one)", str(path), f"Found there: {listed}")
    parts: dict[str, list[Path]] = {}
    for file in found:
        stem = file.name.partition(".")[0].lower()
        parts.setdefault(split or SPLIT_NAMES.get(stem, SPLIT_NAMES.get(file.parent.name.lower(), "train")), []).append(
            file
        )
    return {name: from_files(some, column, encoding) for name, some in parts.items()}


def kind(file: Path) -> str:
    """The ending that says how a file is read; nothing for other files."""
    ending = Path(file.name.removesuffix(".gz")).suffix.lower()
    return ending if ending in ENDINGS and file.is_file() else ""


def from_files(paths: Iterable[Path], column: str, encoding: str) -> Iterator[Piece]:
    for path in paths:
        if not (ending := kind(path)):
            raise DataError(
                f"files that end in '{path.suffix}' are not read as raw text", str(path), "Give .txt or .jsonl"
            )
        with tables.opened(path) as file:
            lines = tables.lines(file, str(path), encoding)
            if ending == ".txt":
                yield from pieces(lines)
                continue
            for number, record in tables.READERS[".jsonl"](lines, str(path)):
                yield Piece(words(record, column, f"{path} line {number}", "Name the column with data.text_column="))


def pieces(lines: Iterable[str]) -> Iterator[Piece]:
    """One document as pieces that end where a line ends."""
    held: list[str] = []
    size, continues = 0, False
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= PIECE:
            yield Piece("".join(held), continues)
            held, size, continues = [], 0, True
    if held:
        yield Piece("".join(held), continues)


def by_line(texts: Iterable[Piece]) -> Iterator[Piece]:
    """Each line that is not blank as a document of its own."""
    for piece in texts:
        yield from (Piece(line.strip()) for line in piece.text.splitlines() if line.strip())


def hub(name: str, revision: str | None, column: str) -> Texts:
    """The splits of a data set on the hub; rows that are lines (their ends are in them) go on with one another."""

    def read(split: str) -> Iterator[Piece]:
        rows = (words(record, column, f"{name} {split} row {n}") for n, record in enumerate(found[split]))
        first = next(rows, "")
        if first.endswith("\n") or not first:
            yield from pieces(chain([first], rows))
        else:
            yield from map(Piece, chain([first], rows))

    found = loaded(name, revision)
    return {SPLIT_NAMES[split]: read(split) for split in found if split in SPLIT_NAMES}


def write(folder: Path, texts: Texts, where: str, *, val_share: float, test_share: float) -> None:
    """Store all splits, those that the source has not got cut from the end of its training text, and the facts."""
    content, rows, n_documents = hashlib.sha256(), {}, {}
    if "train" in texts:
        shares = {name: share for name, share in (("val", val_share), ("test", test_share)) if name not in texts}
        texts = {**texts, **cut(folder, texts["train"], shares)}
    for split in (name for name in ("train", "val", "test") if name in texts):
        with RaggedWriter(folder, f"{split}.text", np.uint8) as writer:
            continues: list[bool] = []
            for text, goes_on in texts[split]:
                if text.strip() or goes_on:
                    raw = text.encode("utf-8", "surrogatepass")
                    content.update(raw)
                    writer.add(np.frombuffer(raw, np.uint8), [len(raw)])
                    continues.append(goes_on and bool(continues))
        np.save(folder / f"{split}.continues.npy", np.array(continues, bool))
        content.update(np.array(continues, bool).tobytes() + split.encode())
        rows[split], n_documents[split] = len(continues), len(continues) - sum(continues)
    if not rows.get("train", 1):
        raise DataError("there is no text", where, "Give a file with text")
    for left in folder.glob("whole.*"):
        left.unlink()
    facts = {
        "fingerprint": content.hexdigest(),
        "classes": None,
        "rows": rows,
        "documents": n_documents,
        "pairs": False,
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def cut(folder: Path, texts: Iterable[Piece], shares: dict[str, float]) -> Texts:
    """Training text, then each share, in the order of the text: between documents, or inside where there is but one."""
    continues = []
    with RaggedWriter(folder, "whole", np.uint8) as writer:
        for piece in texts:
            raw = piece.text.encode("utf-8", "surrogatepass")
            writer.add(np.frombuffer(raw, np.uint8), [len(raw)])
            continues.append(piece.continues)
    whole, goes_on = Ragged.load(folder, "whole"), np.array(continues, bool)
    total, left = int(whole.offsets[-1]), 1.0 - sum(shares.values())
    begins = whole.offsets[:-1][~goes_on]  # of documents
    edges = [0]
    for share in (left, *shares.values()):
        edge = min(total, edges[-1] + round(share * total)) if share else edges[-1]
        if len(begins) > len(shares) + 1 and edge < total:
            edge = int(begins[np.argmin(np.abs(begins - edge))])
        while edge < total and whole.values[edge] & 0xC0 == 0x80:  # inside a character
            edge += 1
        edges.append(edge)
    edges[-1] = total
    names = ("train", *shares)
    return {name: between(whole, goes_on, *edges[n : n + 2]) for n, name in enumerate(names)}


def between(whole: Ragged, goes_on: np.ndarray, begin: int, end: int) -> Iterator[Piece]:
    """The pieces of a byte range."""
    first = int(np.searchsorted(whole.offsets, begin, side="right")) - 1
    for row in range(first, len(whole)):
        low, high = max(begin, int(whole.offsets[row])), min(end, int(whole.offsets[row + 1]))
        if low >= end:
            return
        if high > low:
            yield Piece(whole.values[low:high].tobytes().decode("utf-8", "surrogatepass"), bool(goes_on[row]))

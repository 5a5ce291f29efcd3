"""Rows in, rows out: texts in groups as they come, and answers to a file or standard output."""

import csv
import json
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from queue import Empty, Queue
from typing import Any, TextIO, TypeVar

from lmlab.errors import ConfigError, DiskError

Text = TypeVar("Text")  # one, or a pair of them
TABLES = (".csv", ".jsonl")


def groups(texts: Iterable[Text], size: int) -> Iterator[list[Text]]:
    group: list[Text] = []
    for text in texts:
        group.append(text)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def arriving(texts: Iterable[Text], size: int) -> Iterator[list[Text]]:
    """Groups of what has come so far: a person typing gets each answer at once, a pipe full batches."""
    queue: Queue = Queue(maxsize=4 * size)
    end = object()

    def read() -> None:
        try:
            for text in texts:
                queue.put(text)
            queue.put(end)
        except Exception as error:  # handed to the reader below, which raises it
            queue.put(error)

    threading.Thread(target=read, daemon=True).start()
    while True:
        group, item = [], queue.get()
        while not (item is end or isinstance(item, Exception)):
            group.append(item)
            if len(group) == size:
                break
            try:
                item = queue.get_nowait()
            except Empty:
                break
        if group:
            yield group
        if isinstance(item, Exception):
            raise item
        if item is end:
            return


@contextmanager
def opened(output: str, endings: Sequence[str] = TABLES) -> Iterator[TextIO]:
    if output == "-":
        with nullcontext(sys.stdout) as file:
            yield file
        return
    if Path(output).suffix not in endings:
        raise ConfigError(f"answers are written as {' or '.join(endings)}", f"stage.output={output}")
    try:
        with open(output, "w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise DiskError(f"answers cannot be written: {error.strerror}", output) from None


def row_writer(file: TextIO, kind: str):
    """What writes a row, an answer with what it answers, as csv, as jsonl, or its output alone as a line of txt."""
    writer: csv.DictWriter | None = None

    def write(row: dict[str, Any]) -> None:
        nonlocal writer
        if kind == "jsonl":
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            return
        if kind == "txt":
            file.write(" ".join(row["output"].splitlines()) + "\n")
            return
        if writer is None:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
        writer.writerow(row)

    return write

"""Label texts from a file or standard input, row by row, as they come."""

import csv
import json
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from queue import Empty, Queue
from typing import Any, TextIO

import torch
from lightning.fabric.utilities import move_data_to_device

from lmlab.data.sources import stream
from lmlab.errors import ConfigError, DiskError
from lmlab.experiment import Experiment
from lmlab.ranges import PositiveInt


def predict(
    experiment: Experiment,
    input: str = "-",
    output: str = "-",
    text_column: str = "text",
    batch_rows: PositiveInt = 64,
    checkpoint: str = "best.ckpt",
) -> None:
    """Write each text's label and class probabilities to `output`, in input order."""
    experiment.load_weights(experiment.run.checkpoints / checkpoint)
    device = torch.device("cuda" if experiment.settings["accelerator"] == "gpu" else "cpu")
    module = experiment.module.eval().to(device)
    corpus = experiment.corpus
    texts = stream(input, text_column, corpus.encoding)
    with opened(output) as file, torch.inference_mode():
        write = row_writer(file, "csv" if output.endswith(".csv") else "jsonl")
        for group in arriving(texts, batch_rows) if input == "-" else groups(texts, batch_rows):
            batch = move_data_to_device(dict(corpus.batch(group)), device)
            for text, answer in zip(group, module.task.predict(module.network, batch), strict=True):
                write({"text": text} | answer)
            file.flush()


def groups(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    group: list[str] = []
    for text in texts:
        group.append(text)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def arriving(texts: Iterable[str], size: int) -> Iterator[list[str]]:
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
def opened(output: str) -> Iterator[TextIO]:
    if output == "-":
        with nullcontext(sys.stdout) as file:
            yield file
        return
    if Path(output).suffix not in (".csv", ".jsonl"):
        raise ConfigError("predictions are written as .csv or .jsonl", f"stage.output={output}")
    try:
        with open(output, "w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise DiskError(f"predictions cannot be written: {error.strerror}", output) from None


def row_writer(file: TextIO, kind: str):
    writer: csv.DictWriter | None = None

    def write(row: dict[str, Any]) -> None:
        nonlocal writer
        if kind == "jsonl":
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            return
        if writer is None:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
        writer.writerow(row)

    return write

"""Find the texts of an index that lie nearest to what is asked."""

import logging
import sys
from pathlib import Path
from typing import Any

from lmlab.data.sources import stream
from lmlab.errors import ConfigError, InputMissing
from lmlab.experiment import Experiment
from lmlab.ranges import PositiveInt
from lmlab.stages.index import vectors
from lmlab.stages.predict import ready
from lmlab.stages.rows import arriving, groups, opened, row_writer
from lmlab.stages.vector_index import VectorIndex, cut, folder_of, model_of

log = logging.getLogger(__name__)
SHOWN = 200  # characters of a text in the terminal


def search(
    experiment: Experiment,
    query: str | None = None,
    input: str | None = None,
    output: str | None = None,
    folder: str | None = None,
    n: PositiveInt = 10,
    candidates: PositiveInt = 100,
    parameters: str | None = None,
    text_column: str = "text",
    batch_rows: PositiveInt = 64,
    checkpoint: str = "best.ckpt",
) -> None:
    """The `n` nearest texts and their cosines: of one query to the terminal, or rows of those of a file to `output`."""
    if query is not None and input is not None:
        raise ConfigError("both a query and a file of queries are given", "stage.input", "Leave one out")
    if query is not None and not query.strip():
        raise InputMissing("the query is blank", "stage.query", 'Add stage.query="what is asked"')
    found = VectorIndex(folder_of(experiment, folder))
    found.refuse_other(model_of(experiment, checkpoint))
    ready(experiment, checkpoint)
    queries = iter([query]) if query is not None else stream(input or "-", text_column, experiment.corpus.encoding)
    grouped = arriving(queries, batch_rows) if query is None and input in (None, "-") else groups(queries, batch_rows)
    n_blank = 0
    with opened(output or "-") as file:
        write = row_writer(file, Path(output or "").suffix[1:] or "jsonl")
        for some in grouped:
            n_blank += len(some) - len(group := [text for text in some if text.strip()])
            if not group:
                continue
            asked = cut(vectors(experiment, group), found.facts["width"])
            for text, answers in zip(group, nearest(found, asked, n, candidates, parameters), strict=True):
                for answer in answers:
                    if query is not None and output is None:
                        print(f"{answer['rank']:>2}  {answer['score']:.4f}  {shortened(answer['text'])}")
                    else:
                        write({"query": text} | answer)
            file.flush()
    if n_blank:
        log.warning("left out %d blank queries", n_blank)


def nearest(
    found: VectorIndex, asked: Any, n: int, candidates: int = 100, parameters: str | None = None
) -> list[list[dict[str, Any]]]:
    """For each vector that is asked for, the nearest texts, their cosines and their places in the index."""
    cosines, rows = found.search(asked, n, candidates=candidates, parameters=parameters)
    return [
        [
            {"rank": rank, "score": round(float(score), 6), "row": int(row), "text": found.texts.text(int(row))}
            for rank, (score, row) in enumerate(zip(*pair, strict=True), 1)
            if row >= 0
        ]
        for pair in zip(cosines, rows, strict=True)
    ]


def shortened(text: str) -> str:
    """A text on one line; whoever reads from a pipe gets all of it."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN or not sys.stdout.isatty() else f"{line[:SHOWN]} ..."

"""Make an index of texts: their vectors by a finished run, and what finds the nearest."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device

from lmlab.data.corpus import Corpus
from lmlab.data.sources import stream
from lmlab.errors import DiskError
from lmlab.experiment import Experiment
from lmlab.ranges import PositiveInt
from lmlab.stages import vector_index
from lmlab.stages.predict import ready
from lmlab.stages.rows import groups

log = logging.getLogger(__name__)
SORTED = 32  # batches whose texts are sorted by length together


def index(
    experiment: Experiment,
    input: str | None = None,
    output: str | None = None,
    index: Literal["exact", "faiss", "hnsw"] = "exact",
    width: PositiveInt | None = None,
    factory: str = "SQ8",
    links: PositiveInt = 32,
    text_column: str = "text",
    batch_rows: PositiveInt = 64,
    checkpoint: str = "best.ckpt",
) -> None:
    """Write texts and their vectors into `output`, or index/ of the run folder."""
    began, model = time.perf_counter(), vector_index.model_of(experiment, checkpoint)
    ready(experiment, checkpoint)
    corpus, folder = experiment.corpus, vector_index.folder_of(experiment, output)
    texts = documents(corpus) if input is None else stream(input, text_column, corpus.encoding)
    told = {"model": model, "run": str(experiment.run.path.absolute()), "input": input or "the run's documents"}
    parts = ((some, vector_index.cut(vectors, width)) for some, vectors in embedded(experiment, texts, batch_rows))
    try:
        facts = vector_index.write(folder, parts, index, told, factory=factory, links=links)
    except OSError as error:
        raise DiskError(f"the index cannot be written: {error.strerror}", error.filename or str(folder)) from None
    size = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
    print(f"indexed      {facts['rows']:,} texts, {facts['width']} numbers each, {time.perf_counter() - began:.1f} s")
    print(f"written      {folder} ({size:,.1f} MiB)")
    place = "" if output is None else f" stage.folder={folder}"
    print(f'search       python src/run.py stage=search run={experiment.run.path}{place} stage.query="what is asked"')


def documents(corpus: Corpus) -> Iterator[str]:
    """The documents of a run's own corpus, of all splits, each once; second texts of pairs, or texts that are none."""
    seen: set[str] = set()
    for split in corpus.stored.splits:
        texts = corpus.stored.texts(split, corpus.stored.sides[min(1, len(corpus.stored.sides) - 1)])
        for row in range(len(texts)):
            if (text := texts.text(row)) not in seen:
                seen.add(text)
                yield text


def embedded(experiment: Experiment, texts: Iterable[str], batch_rows: int) -> Iterator[tuple[list[str], np.ndarray]]:
    """Texts in their order with their vectors, many at a time; blank ones are left out and counted."""
    n_blank = 0
    for group in groups(texts, SORTED * batch_rows):
        kept = [text for text in group if text.strip()]
        n_blank += len(group) - len(kept)
        if kept:
            order = sorted(range(len(kept)), key=lambda row: len(kept[row]))
            found = [vectors(experiment, [kept[row] for row in rows]) for rows in groups(order, batch_rows)]
            yield kept, np.concatenate(found)[np.argsort(order)]
    if n_blank:
        log.warning("left out %d blank texts", n_blank)


@torch.inference_mode()
def vectors(experiment: Experiment, texts: list[str]) -> np.ndarray:
    """(texts, numbers): vectors of length 1."""
    module = experiment.module
    batch = move_data_to_device(dict(experiment.corpus.lone(texts)), module.device)
    return module.task(module.network, batch).cpu().numpy()

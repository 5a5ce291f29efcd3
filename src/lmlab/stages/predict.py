"""Answer for texts, or pairs of them, from a file or standard input, row by row, as they come, or for a leaderboard."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device

from lmlab.data.glue import Glue
from lmlab.data.rows import Row
from lmlab.data.sources import stream, stream_pairs
from lmlab.errors import ConfigError, DiskError
from lmlab.experiment import Experiment
from lmlab.ranges import PositiveInt
from lmlab.stages.rows import TABLES, arriving, groups, opened, row_writer
from lmlab.tasks.seq2seq import Seq2Seq


def predict(
    experiment: Experiment,
    input: str | None = None,
    output: str | None = None,
    text_column: str = "text",
    pair_column: str | None = None,
    batch_rows: PositiveInt = 64,
    checkpoint: str = "best.ckpt",
) -> None:
    """Write each text with its answer (label and class probabilities, a score, or a text) to `output`, in input order.
    Without `input`, texts come from standard input; of a run on GLUE they are its official test sets."""
    ready(experiment, checkpoint)
    corpus = experiment.corpus
    if input is None and isinstance(corpus, Glue):
        folder = Path(output).expanduser() if output else experiment.run.predictions
        for name, official in corpus.leaderboard():
            write_entries(experiment, official, batch_rows, folder / f"{name}.tsv")
        return
    input, output = input or "-", output or "-"
    rows: Iterator[tuple[str, ...]]
    if corpus.columns.pair:
        rows = stream_pairs(input, text_column, pair_column, corpus.encoding)
    elif pair_column:
        fix = "Leave out stage.pair_column="
        raise ConfigError("this run was trained on single texts", f"stage.pair_column={pair_column}", fix)
    else:
        rows = ((text,) for text in stream(input, text_column, corpus.encoding))
    endings = (*TABLES, ".txt") if isinstance(experiment.module.task, Seq2Seq) else TABLES
    with opened(output, endings) as file:
        write = row_writer(file, Path(output).suffix[1:] or "jsonl")
        for group in arriving(rows, batch_rows) if input == "-" else groups(rows, batch_rows):
            for row, answer in zip(group, answers(experiment, group), strict=True):
                write(dict(zip(("text", "pair"), row, strict=False)) | answer)
            file.flush()


def write_entries(experiment: Experiment, rows: Sequence[Row], batch_rows: int, file: Path) -> None:
    """The answers to an official test set, as GLUE's leaderboard takes them."""
    corpus = experiment.corpus
    assert isinstance(corpus, Glue)
    texts = [(row.text,) if row.pair is None else (row.text, row.pair) for row in rows]
    found = [corpus.entry(answer) for group in groups(texts, batch_rows) for answer in answers(experiment, group)]
    lines = ["index\tprediction", *(f"{index}\t{entry}" for index, entry in enumerate(found))]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise DiskError(f"answers cannot be written: {error.strerror}", str(file)) from None
    print(f"written      {file} ({len(found):,} rows)")


def ready(experiment: Experiment, checkpoint: str) -> None:
    """Load the weights and put the module where it is to answer."""
    experiment.load_weights(experiment.run.checkpoints / checkpoint)
    experiment.module.eval().to("cuda" if experiment.settings["accelerator"] == "gpu" else "cpu")


@torch.inference_mode()
def answers(experiment: Experiment, rows: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
    """The task's answer for each text, or pair of texts."""
    module, sides = experiment.module, [list(side) for side in zip(*rows, strict=True)]
    batch = move_data_to_device(dict(experiment.corpus.batch(*sides)), module.device)
    return module.task.predict(module.network, batch)

"""Answer for texts, or pairs of them, from a file or standard input, row by row, as they come."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device

from lmlab.data.sources import stream, stream_pairs
from lmlab.errors import ConfigError
from lmlab.experiment import Experiment
from lmlab.ranges import PositiveInt
from lmlab.stages.rows import arriving, groups, opened, row_writer


def predict(
    experiment: Experiment,
    input: str = "-",
    output: str = "-",
    text_column: str = "text",
    pair_column: str | None = None,
    batch_rows: PositiveInt = 64,
    checkpoint: str = "best.ckpt",
) -> None:
    """Write each text with its answer (label and class probabilities, or score) to `output`, in input order."""
    ready(experiment, checkpoint)
    corpus = experiment.corpus
    rows: Iterator[tuple[str, ...]]
    if corpus.columns.pair:
        rows = stream_pairs(input, text_column, pair_column, corpus.encoding)
    elif pair_column:
        fix = "Leave out stage.pair_column="
        raise ConfigError("this run was trained on single texts", f"stage.pair_column={pair_column}", fix)
    else:
        rows = ((text,) for text in stream(input, text_column, corpus.encoding))
    with opened(output) as file:
        write = row_writer(file, "csv" if output.endswith(".csv") else "jsonl")
        for group in arriving(rows, batch_rows) if input == "-" else groups(rows, batch_rows):
            for row, answer in zip(group, answers(experiment, group), strict=True):
                write(dict(zip(("text", "pair"), row, strict=False)) | answer)
            file.flush()


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

"""Label texts from a file or standard input, row by row, as they come."""

import torch
from lightning.fabric.utilities import move_data_to_device

from lmlab.data.sources import stream
from lmlab.experiment import Experiment
from lmlab.ranges import PositiveInt
from lmlab.stages.rows import arriving, groups, opened, row_writer


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

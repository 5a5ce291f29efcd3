"""A run's model as an ONNX graph: from the tokens of texts to what its task says of them."""

import importlib.util
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lmlab import published
from lmlab.errors import ConfigError, LmlabError
from lmlab.experiment import Experiment
from lmlab.stages.huggingface import frame

FILE = "model.onnx"
NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # of logits, between here and onnxruntime
NAMES = ("tokens", "mask", "segments")


class Answer(nn.Module):
    """What a task makes of a network's states, as a function of tensors: logits, or estimates."""

    def __init__(self, network: nn.Module, task: nn.Module) -> None:
        super().__init__()
        self.network, self.task = network, task

    def forward(self, tokens: Tensor, mask: Tensor, segments: Tensor | None = None) -> Tensor:
        pair = {} if segments is None else {"segments": segments}
        return self.task(self.network, {"tokens": tokens, "mask": mask, **pair})


def write(experiment: Experiment, folder: Path) -> list[Path]:
    """Write the graph, which takes any number of rows of any length, and the tokenizer; then ask both the same.

    Raises ConfigError where a package is missing, LmlabError if onnxruntime answers other than the run does.
    """
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise ConfigError(f"{', '.join(missing)} not installed", "stage.format=onnx", "pip install -e '.[onnx]'")
    if getattr(experiment.module.network, "ngrams", None) is not None:
        what = "a search for n-grams has no place in an ONNX graph"
        raise ConfigError(what, "stage.format=onnx", "Train with task.ngram_orders=[]")
    corpus, file = experiment.corpus, folder / FILE
    answer = Answer(experiment.module.network, experiment.module.task).eval()
    first, second = (inputs(experiment, rows, length) for rows, length in ((3, 9), (2, 14)))
    sizes = {0: torch.export.Dim("rows"), 1: torch.export.Dim("length", max=corpus.max_length)}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of onnxscript, about itself
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            answer,
            first,
            dynamo=True,
            verbose=False,
            input_names=NAMES[: len(first)],
            output_names=["answer"],
            dynamic_shapes=[sizes] * len(first),
        )
        program.model.metadata_props["classes"] = "\n".join(getattr(experiment.module.task, "classes", ()))
        program.save(str(file))
        refuse_difference(file, [(batch, answer(*batch)) for batch in (first, second)])
    corpus.tokenizer.save(folder / published.TOKENIZER, frame(experiment))
    return [file, folder / published.TOKENIZER]


def inputs(experiment: Experiment, rows: int, length: int) -> tuple[Tensor, ...]:
    """Texts of chance, the last of them padded."""
    generator = torch.Generator().manual_seed(length)
    tokens = torch.randint(len(experiment.corpus.tokenizer), (rows, length), generator=generator)
    mask = torch.ones(rows, length, dtype=torch.bool)
    mask[-1, length // 2 :] = False
    pair = (torch.arange(length) >= length // 3).long().expand(rows, length).clone()
    both_at_once = experiment.corpus.columns.pair and experiment.corpus.batches == "rows"
    return (tokens, mask, pair) if both_at_once else (tokens, mask)


def refuse_difference(file: Path, answers: list[tuple[tuple[Tensor, ...], Tensor]]) -> None:
    """Raises LmlabError if onnxruntime does not answer what was answered here."""
    from onnxruntime import InferenceSession

    session = InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for batch, expected in answers:
        fed = {name: tensor.numpy() for name, tensor in zip(NAMES, batch, strict=False)}
        (found,) = session.run(None, fed)
        if not np.allclose(found, expected.numpy(), atol=TOLERANCE, rtol=TOLERANCE):
            far = float(np.abs(found - expected.numpy()).max())
            raise LmlabError(f"onnxruntime answers other than the run does, by {far:.2g}", str(file), "Do not use it")

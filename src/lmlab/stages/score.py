"""How likely a finished run finds texts from a file or standard input, row by row, as they come."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

from lmlab.data.sources import stream
from lmlab.experiment import Experiment
from lmlab.generate import device_of, window_start
from lmlab.module import LanguageModule
from lmlab.ranges import PositiveInt
from lmlab.stages.rows import arriving, groups, opened, row_writer
from lmlab.tasks.causal_lm import NONE, perplexity
from lmlab.tokenizer import Tokenizer


def score(
    experiment: Experiment,
    input: str = "-",
    output: str = "-",
    text_column: str = "text",
    batch_rows: PositiveInt = 64,
    batch_tokens: PositiveInt = 4096,
    checkpoint: str = "best.ckpt",
) -> None:
    """Write each text's log-probability (nats), tokens, perplexity and bits per byte to `output`, in input order."""
    experiment.load_weights(experiment.run.checkpoints / checkpoint)
    device = torch.device("cuda" if experiment.settings["accelerator"] == "gpu" else "cpu")
    module, corpus = experiment.module.eval().to(device), experiment.corpus
    texts = stream(input, text_column, corpus.encoding)
    with opened(output) as file:
        write = row_writer(file, "csv" if output.endswith(".csv") else "jsonl")
        for group in arriving(texts, batch_rows) if input == "-" else groups(texts, batch_rows):
            cleaned = [corpus.clean(text) for text in group]
            for text, answer in zip(group, scores(module, corpus.tokenizer, cleaned, batch_tokens), strict=True):
                write({"text": text} | answer)
            file.flush()


@torch.inference_mode()
def scores(
    module: LanguageModule, tokenizer: Tokenizer, texts: Sequence[str], batch_tokens: int
) -> list[dict[str, Any]]:
    """log p([SEP] text [SEP] | its first [SEP]) of each text and what follows from it; every token is counted."""
    framed = [[tokenizer.sep_id, *ids, tokenizer.sep_id] for ids in tokenizer.encode(list(texts))]
    nats = [0.0] * len(texts)
    windows = [
        window for row, tokens in enumerate(framed) for window in windows_of(row, tokens, module.network.context)
    ]
    for batch in batches(windows, batch_tokens):
        tokens, target = (
            pad_sequence([torch.tensor(side) for side in sides], batch_first=True, padding_value=filler)
            for sides, filler in (
                ([window.tokens for window in batch], tokenizer.pad_id),
                ([window.target for window in batch], NONE),
            )
        )
        parts = {"tokens": tokens.to(device_of(module.network)), "target": target.to(device_of(module.network))}
        losses = module.task.losses(module.network, parts).double().view(target.shape).sum(1)
        for window, loss in zip(batch, losses.tolist(), strict=True):
            nats[window.row] += loss
    return [answer(loss, len(tokens) - 1, text) for loss, tokens, text in zip(nats, framed, texts, strict=True)]


class Window(NamedTuple):
    """As much of a text as a network reads at once."""

    row: int
    tokens: list[int]
    target: list[int]  # the token after each, NONE where an earlier window has scored it


def windows_of(row: int, tokens: list[int], context: int | None) -> Iterator[Window]:
    """The windows in which `generate` would have seen each token of a text come."""
    begins = groupby(range(1, len(tokens)), key=lambda length: window_start(length, context))
    for begin, lengths in begins:
        first, *rest = lengths
        last = rest[-1] if rest else first
        target = [NONE] * (first - 1 - begin) + tokens[first : last + 1]
        yield Window(row, tokens[begin:last], target)


def batches(windows: Iterable[Window], batch_tokens: int) -> Iterator[list[Window]]:
    """Windows of like length together, as many as the padded tokens allow, one at least."""
    batch: list[Window] = []
    for window in sorted(windows, key=lambda window: len(window.tokens)):
        if batch and (len(batch) + 1) * len(window.tokens) > batch_tokens:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def answer(nats: float, n_tokens: int, text: str) -> dict[str, Any]:
    n_bytes = len(text.encode("utf-8", "surrogatepass"))
    return {
        "log_probability": -nats,
        "tokens": n_tokens,
        "perplexity": perplexity(nats, n_tokens),
        "bits_per_byte": nats / math.log(2) / n_bytes if n_bytes else None,
    }

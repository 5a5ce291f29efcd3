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
from lmlab.tasks.masked_lm import MaskedLM
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
    """Write each text's log-probability (nats), tokens and perplexity to `output`, in input order."""
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
    """log p([SEP] text [SEP] | its first [SEP]) of each text and what follows from it; every token is counted.

    Of a masked language model, the sum over a text's tokens of log p(token | all others): its pseudo-log-likelihood
    (Salazar et al., 2020).
    """
    masked = module.task if isinstance(module.task, MaskedLM) else None
    ids = tokenizer.encode(list(texts))
    windows = [
        window
        for row, text in enumerate(ids)
        for window in (
            masked_windows(row, text, masked, module.network.context)
            if masked
            else windows_of(row, [tokenizer.sep_id, *text, tokenizer.sep_id], module.network.context)
        )
    ]
    nats, counts = [0.0] * len(texts), [0] * len(texts)
    for batch in batches(windows, batch_tokens):
        tokens, target = (
            pad_sequence([torch.tensor(side) for side in sides], batch_first=True, padding_value=filler)
            for sides, filler in (
                ([window.tokens for window in batch], tokenizer.pad_id),
                ([window.target for window in batch], NONE),
            )
        )
        lengths = torch.tensor([len(window.tokens) for window in batch])
        parts = {"tokens": tokens, "target": target, "mask": torch.arange(tokens.shape[1]) < lengths[:, None]}
        parts = {name: part.to(device_of(module.network)) for name, part in parts.items()}
        losses = module.task.losses(module.network, parts).double().view(target.shape).sum(1)
        for window, loss, count in zip(batch, losses.tolist(), (target != NONE).sum(1).tolist(), strict=True):
            nats[window.row] += loss
            counts[window.row] += count
    tell = pseudo_answer if masked else answer
    return [tell(loss, n_tokens, text) for loss, n_tokens, text in zip(nats, counts, texts, strict=True)]


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


def masked_windows(row: int, ids: list[int], task: MaskedLM, context: int | None) -> Iterator[Window]:
    """A text once for each of its tokens, which is masked there and stands in the middle of what is too long."""
    frame = task.tokenizer.frame
    # a frame without an end is that of rows: blocks, which are learned from, have a [SEP] before and after each text
    begin, end = (
        (list(frame.begin), list(frame.end)) if frame.end else ([task.tokenizer.sep_id], [task.tokenizer.sep_id])
    )
    room = len(ids) if context is None else context - len(begin) - len(end)
    never = set(task.specials.tolist())
    for place, token in enumerate(ids):
        if token in never:
            continue
        first = max(0, min(place - room // 2, len(ids) - room))
        read = [*ids[first:place], task.mask_id, *ids[place + 1 : first + room]]
        target = [NONE] * (place - first) + [token] + [NONE] * (len(read) - (place - first) - 1)
        yield Window(row, [*begin, *read, *end], [NONE] * len(begin) + target + [NONE] * len(end))


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


def pseudo_answer(nats: float, n_tokens: int, text: str) -> dict[str, Any]:
    return {
        "pseudo_log_likelihood": -nats,
        "tokens": n_tokens,
        "pseudo_perplexity": perplexity(nats, n_tokens),
    }

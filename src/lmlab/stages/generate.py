"""Let a finished run go on with texts: one from the command line, those of a file or a pipe, or a person's, in turn."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, TextIO

import torch

from lmlab import generate as generation
from lmlab.data.corpus import Corpus
from lmlab.data.sources import stream
from lmlab.errors import ConfigError
from lmlab.experiment import Experiment
from lmlab.nn.network import Network
from lmlab.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Probability, Seed
from lmlab.stages.rows import arriving, groups, opened, row_writer
from lmlab.stages.text_stream import TextStream
from lmlab.tasks.autoencoding import Autoencoding

Writer = Callable[..., Iterator[list[str]]]  # prompts and n -> the pieces by which their n texts each grow, in steps
RULE = "-" * 20  # between texts


def generate(
    experiment: Experiment,
    prompt: str | None | Literal[""] = None,
    prompts: str | None = None,
    max_new_tokens: PositiveInt = 200,
    temperature: NonNegativeFloat = 0.8,
    top_k: PositiveInt | None = None,
    top_p: Probability | None = None,
    min_p: Probability | None = None,
    repetition_penalty: PositiveFloat = 1.0,
    n: PositiveInt = 1,
    stop: Sequence[str] = (),
    seed: Seed = 0,
    lookup: NonNegativeInt = 16,
    output: str = "-",
    text_column: str = "text",
    batch_rows: PositiveInt = 16,
    checkpoint: str = "best.ckpt",
) -> None:
    """Write what follows each prompt: as text to the terminal while it is written, or as rows to a file.

    A family that writes from codes draws one for each text, and needs no prompt.
    """
    if prompt is not None and prompts is not None:
        raise ConfigError("both a prompt and a file of prompts are given", "stage.prompts", "Leave one out")
    experiment.load_weights(experiment.run.checkpoints / checkpoint)
    if isinstance(experiment.module.task, Autoencoding):
        if not experiment.module.network.has_prior:
            fix = "Draw from a run of model=vae, or ask this one for stage=interpolate"
            raise ConfigError("this autoencoder's codes have no distribution to draw from", "stage=generate", fix)
        prompt = "" if prompts is None and prompt is None else prompt
    device = torch.device("cuda" if experiment.settings["accelerator"] == "gpu" else "cpu")
    corpus = experiment.corpus
    write = partial(
        pieces,
        experiment.module.network.eval().to(device),
        corpus,
        stop,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        lookup=lookup,
        generator=torch.Generator(device).manual_seed(seed),
    )
    with opened(output) as file:
        if prompt is None and prompts is None and sys.stdin.isatty():
            return converse(write, file)
        texts = iter([prompt]) if prompt is not None else stream(prompts or "-", text_column, corpus.encoding)
        grouped = arriving(texts, batch_rows) if prompt is prompts is None else groups(texts, batch_rows)
        if output == "-":
            show(write, grouped, n, file)
        else:
            save(write, grouped, n, row_writer(file, "csv" if output.endswith(".csv") else "jsonl"), file)


def pieces(
    network: Network, corpus: Corpus, stop: Sequence[str], prompts: Sequence[str], n: int, **options: Any
) -> Iterator[list[str]]:
    """Step by step, the text that each continuation grows by: n of the first prompt, n of the next, and so on."""
    tokenizer = corpus.tokenizer
    ids = tokenizer.encode([corpus.clean(text) for text in prompts])
    streams = [TextStream(tokenizer, row, stop) for row in ids for _ in range(n)]
    framed = [[tokenizer.sep_id, *row] for row in ids]  # as training texts are
    if network.has_prior:
        options["memory"] = network.prior(n * len(ids), options["generator"])
    for step in generation.generate(network, framed, n=n, **generation.ids(tokenizer), **options):
        yield ["" if token is None else text.push(token) for text, token in zip(streams, step, strict=True)]
        if all(text.ended for text in streams):
            break
    yield [text.close() for text in streams]


def show(write: Writer, grouped: Iterable[list[str]], n: int, file: TextIO) -> None:
    """Prompts and what follows them, one after another; the first of a group as it is written."""
    between = ""
    for prompts in grouped:
        first, *others = [prompt for prompt in prompts for _ in range(n)]
        file.write(between + first)
        for step in write(prompts, n):
            file.write(step[0])
            file.flush()
            others = [text + piece for text, piece in zip(others, step[1:], strict=True)]
        file.write("".join(f"\n{RULE}\n{text}" for text in others) + "\n")
        file.flush()
        between = f"{RULE}\n"


def save(
    write: Writer, grouped: Iterable[list[str]], n: int, write_row: Callable[[dict[str, Any]], None], file: TextIO
) -> None:
    """A row for each continuation: the prompt, its number among those of the prompt, and the text that follows."""
    for prompts in grouped:
        written = ["".join(parts) for parts in zip(*write(prompts, n), strict=True)]
        for row, text in enumerate(written):
            write_row({"prompt": prompts[row // n], "sample": row % n, "text": text})
        file.flush()


def converse(write: Writer, file: TextIO) -> None:
    """A line, what follows it, a line that goes on from there, and so on; an empty line begins a new text."""
    print("A line to go on from; an empty one forgets all before; Ctrl-D ends.", file=sys.stderr)
    text = ""
    while True:
        try:
            line = input("> ")
        except EOFError:
            return
        if not line:
            text = ""
            continue
        text += f"\n{line}" if text else line
        for (piece,) in write([text], 1):
            text += piece
            file.write(piece)
            file.flush()
        file.write("\n")
        file.flush()

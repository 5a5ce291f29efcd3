"""The answers to a question that stand in a text, however long, or in several."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from lightning.fabric.utilities import move_data_to_device

from lmlab.data import tables
from lmlab.data.batching import EvaluationOrder
from lmlab.data.questions import Questions
from lmlab.errors import DataError, InputMissing
from lmlab.experiment import Experiment
from lmlab.ranges import PositiveInt
from lmlab.stages.predict import ready
from lmlab.tasks.answers import Answer, Answers
from lmlab.tasks.question_answering import QuestionAnswering
from lmlab.terminal import print_columns

NAME = 255  # bytes that a file's name has at most: what is longer is a text
AROUND = 30  # characters to each side of an answer that are shown with it


def ask(
    experiment: Experiment,
    question: str | None | Literal[""] = None,
    context: str | None | Literal[""] = None,
    n: PositiveInt = 5,
    threshold: float | int | None = None,
    checkpoint: str = "best.ckpt",
) -> None:
    """Print the `n` best answers of all contexts, each with its probability and where it stands. A model that has
    learned from questions without an answer says where there seems to be none: `threshold` in place of the task's."""
    if not (question and question.strip()):
        raise InputMissing("no question is asked", "stage.question", 'Add stage.question="Who ...?"')
    read = texts(context or "", experiment.corpus.encoding)
    ready(experiment, checkpoint)
    found = answers(experiment, question, [text for _, text in read], n)
    task = experiment.module.task
    assert isinstance(task, QuestionAnswering)
    best = sorted(((answer, place) for place, each in enumerate(found) for answer in each.best), reverse=True)[:n]
    refused = task.no_answer and not any(task.answer(each, threshold) for each in found)
    rows = [
        [
            answer.text,
            f"{answer.told()['probability']:.4f}",
            stands(read[place][0], answer),
            around(read[place][1], answer),
        ]
        for answer, place in best
    ]
    if not rows:
        raise DataError("the tokenizer finds no words in the context", "stage.context", "Give another text")
    print_columns(question, ["answer", "probability", "characters", ""], rows)
    if refused:
        print(f"there seems to be no answer: the likeliest is so by {max(each.margin for each in found):.2f} nats only")


def texts(given: str, encoding: str) -> list[tuple[str, str]]:
    """The name and the words of each context: what is given, what the file of that name holds, or those in a folder."""
    if not given.strip():
        raise InputMissing("the context is empty", "stage.context", "Add stage.context= a text, a file or a folder")
    path = Path(given).expanduser()
    if len(given.encode()) > NAME or "\n" in given or not (path.exists() or seems_a_path(given)):
        return [("", given)]
    files = sorted(file for file in path.glob("*.txt") if file.is_file()) if path.is_dir() else [path]
    if not path.exists() or not files:
        what = "there is no .txt file in the folder" if path.is_dir() else "there is no such file"
        raise InputMissing(what, given, "Check the path given with stage.context=")
    return [(file.name, words(file, encoding)) for file in files]


def seems_a_path(given: str) -> bool:
    """Whether somebody who wrote it meant a file: it has no blank, and a folder or an ending."""
    return not any(sign.isspace() for sign in given) and ("/" in given or Path(given).suffix in (".txt", ".md", ".gz"))


def words(file: Path, encoding: str) -> str:
    with tables.opened(file) as source:
        text = "".join(tables.lines(source, str(file), encoding))
    if not text.strip():
        raise DataError(f"{file.name} has no words", str(file), "Give a file with a text")
    return text


@torch.inference_mode()
def answers(experiment: Experiment, question: str, contexts: Sequence[str], n: int) -> list[Answers]:
    """The n best answers of each context, in order of these."""
    module, corpus = experiment.module, experiment.corpus
    assert isinstance(corpus, Questions) and isinstance(module.task, QuestionAnswering)
    windows = corpus.asked([question] * len(contexts), contexts)
    found: dict[int, Answers] = {}
    for rows in EvaluationOrder(windows.lengths, batch_tokens=corpus.eval_batch_tokens):
        batch = move_data_to_device(dict(windows[rows]), module.device)
        for number, some in module.task.read(module.network, batch, n).items():
            found[number] = some.beside(found.get(number), n)
    return [found[number] for number in range(len(contexts))]


def stands(name: str, answer: Answer) -> str:
    return f"{name} {answer.begin}-{answer.end}".strip()


def around(context: str, answer: Answer) -> str:
    """The answer in the words before and after it."""
    first, last = max(0, answer.begin - AROUND), answer.end + AROUND
    parts = context[first : answer.begin], f"[{answer.text}]", context[answer.end : last]
    return " ".join("".join(parts).split())

"""What questions are answered with, beside what is right: samples while a model learns, and at the end all of it."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger

from lmlab.callbacks.final import called, split_of
from lmlab.evaluation import squad
from lmlab.ranges import PositiveInt
from lmlab.tasks.answers import Answers
from lmlab.tasks.question_answering import QuestionAnswering

HEADER = ["row", "question", "answer", "right", "f1", "context"]


class Answered(Callback):
    """Writes the first `n` questions of each validation to samples/step-<step>.csv, all of a last evaluation, the worst
    first, to predictions/answers.csv, and the `n` worst of these to W&B; the contexts have [[the answer]] marked.
    """

    def __init__(self, folder: str, n: PositiveInt = 20) -> None:
        self.folder, self.n = Path(folder), n

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit":
            return self.finish(trainer, module)
        if isinstance(module.task, QuestionAnswering) and not trainer.sanity_checking:
            found = module.task.all_found("val")
            if trainer.is_global_zero and found:
                rows = table(trainer, module.task, "val", dict([*found.items()][: self.n]))
                write(self.folder / "samples" / f"step-{trainer.global_step:08d}.csv", rows)

    def on_test_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.finish(trainer, module)

    def finish(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """All questions of a last evaluation."""
        split = split_of(trainer)
        if split is None or not isinstance(module.task, QuestionAnswering):
            return
        found = module.task.all_found(split)
        if not (trainer.is_global_zero and found):
            return
        rows = sorted(table(trainer, module.task, split, found), key=lambda row: (row[4], row[0]))
        write(self.folder / "predictions" / f"{called(trainer, 'answers', split)}.csv", rows)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_table(f"{split}/answers", columns=HEADER, data=rows[: self.n])


def table(trainer: pl.Trainer, task: QuestionAnswering, split: str, found: Mapping[int, Answers]) -> list[list[Any]]:
    stored = trainer.datamodule.stored  # type: ignore[attr-defined]
    questions, contexts = (stored.texts(split, side) for side in stored.sides)
    rows = []
    for row, answers in found.items():
        text = task.answer(answers)
        f1 = squad.scores(text, answers.right, language=task.language, no_answer=task.no_answer).f1
        shown = marked(contexts.text(row), answers) if text else contexts.text(row)
        rows.append([row, questions.text(row), text, " | ".join(dict.fromkeys(answers.right)), round(f1, 4), shown])
    return rows


def marked(context: str, answers: Answers) -> str:
    best = answers.best[0]
    return f"{context[: best.begin]}[[{best.text}]]{context[best.end :]}"


def write(path: Path, rows: list[list[Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])

"""What a model answers texts with: samples of it while it learns, and at the end all of it, row by row."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger

from lmlab.callbacks import alignments
from lmlab.callbacks.final import split_of
from lmlab.callbacks.plots import save
from lmlab.nn.network import Network
from lmlab.ranges import NonNegativeInt, PositiveInt
from lmlab.tasks.seq2seq import Seq2Seq

HEADER = ["row", "source", "reference", "hypothesis"]


class Written(Callback):
    """Writes the first `n` decoded rows of each validation to samples/step-<step>.csv and to W&B, and all rows of a
    last evaluation to predictions/hypotheses_<split>.csv.

    Of the first `n_alignments` of these it is drawn where in the source the network looked, if it tells, in
    plots/alignments_<split>.png.
    """

    def __init__(self, folder: str, n: PositiveInt = 20, n_alignments: NonNegativeInt = 3) -> None:
        self.folder, self.n, self.n_alignments = Path(folder), n, n_alignments
        self.hypotheses: dict[int, str] = {}  # by row, of this rank

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.hypotheses = {}

    def on_test_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.hypotheses = {}

    def on_validation_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        self.collect(module, outputs)

    def on_test_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        self.collect(module, outputs)

    def collect(self, module: pl.LightningModule, outputs: Mapping[str, Any] | None) -> None:
        if outputs and isinstance(module.task, Seq2Seq):
            self.hypotheses |= dict(zip(outputs["rows"].tolist(), outputs["hypothesis"], strict=True))

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit":
            self.finish(trainer, module)
        elif isinstance(module.task, Seq2Seq) and not trainer.sanity_checking:
            self.sample(trainer)

    def on_test_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.finish(trainer, module)

    def sample(self, trainer: pl.Trainer) -> None:
        """The first rows that were decoded, which are the same ones after each validation."""
        found = gathered(trainer, first(self.hypotheses, self.n))
        if not (trainer.is_global_zero and found):
            return
        rows = table(trainer, "val", first(found, self.n))
        write(self.folder / "samples" / f"step-{trainer.global_step:08d}.csv", rows)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                told = [[trainer.global_step, *row] for row in rows]
                logger.log_table("samples", columns=["step", *HEADER], data=told)

    def finish(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """All rows of a last evaluation, in order."""
        split = split_of(trainer)
        if split is None or not isinstance(module.task, Seq2Seq):
            return
        found = gathered(trainer, self.hypotheses)
        if not (trainer.is_global_zero and found):
            return
        rows = table(trainer, split, first(found))
        write(self.folder / "predictions" / f"hypotheses_{split}.csv", rows)
        network, corpus = cast(Network, module.network), trainer.datamodule  # type: ignore[attr-defined]
        if network.alignments and self.n_alignments:
            read = {
                f"row {row}": alignments.reread(
                    module.task, network, corpus.batch([source]), corpus.tokenizer, hypothesis
                )
                for row, source, _, hypothesis in rows[: self.n_alignments]
            }
            save(trainer, self.folder, alignments.drawn(read), f"alignments_{split}")


def first(hypotheses: Mapping[int, str], n: int | None = None) -> dict[int, str]:
    """Those of the first `n` rows, or of all, in order."""
    return dict(sorted(hypotheses.items())[:n])


def gathered(trainer: pl.Trainer, hypotheses: dict[int, str]) -> dict[int, str]:
    """Those of all ranks."""
    parts: list[Any] = [hypotheses]
    if trainer.world_size > 1:
        parts = [None] * trainer.world_size
        dist.all_gather_object(parts, hypotheses)
    return {row: text for part in parts for row, text in part.items()}


def table(trainer: pl.Trainer, split: str, hypotheses: Mapping[int, str]) -> list[tuple[int, str, str, str]]:
    stored = trainer.datamodule.stored  # type: ignore[attr-defined]
    sources, references = (stored.texts(split, side) for side in ("text", "pair"))
    return [(row, sources.text(row), references.text(row), text) for row, text in hypotheses.items()]


def write(path: Path, rows: Sequence[tuple[int, str, str, str]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])

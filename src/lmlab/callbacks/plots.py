"""Learning curves, confusion matrices and estimates as PNG files in plots/, and as images in W&B."""

import warnings
from pathlib import Path

import lightning.pytorch as pl
import matplotlib
import pandas as pd
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger
from matplotlib.figure import Figure

from lmlab.callbacks.final import called, split_of

matplotlib.use("Agg")

UNDRAWN = {  # counts, and what the loss or another score shows already
    *("val/rows", "val/tokens", "val/words", "val/reference_words", "val/length", "val/reference_length"),
    *("val/perplexity", "val/word_perplexity", "val/length_ratio", "val/documents"),
}
OF_100 = ("val/bleu", "val/chrf", "val/ter", "val/rouge")  # the beginnings of what is no share, but a percentage


class Plots(Callback):
    """Draws what metrics.csv holds when training ends, and what was predicted when a last evaluation ends."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.logged: pd.DataFrame | None = None  # of a training that has just ended

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        table = self.folder / "metrics.csv"
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            logger.save()
        if table.exists():
            self.logged = pd.read_csv(table)
            save(trainer, self.folder, learning_curve(self.logged), "learning_curve")

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.draw(trainer, module)
        if self.logged is not None and not any(name.startswith("val/") for name in self.logged):
            told = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
            last = pd.DataFrame([{"step": trainer.global_step, **told}])  # it ended before a first validation
            save(trainer, self.folder, learning_curve(pd.concat((self.logged, last))), "learning_curve")

    def on_test_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.draw(trainer, module)

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """What a last evaluation told."""
        if (split := split_of(trainer)) is None:
            return
        title = trainer.datamodule.official_splits.get(split, split)  # type: ignore[attr-defined]
        tables = module.task.tables(split)
        for name, draw in (("confusion_matrix", confusion_matrix), ("estimates", estimates)):
            if trainer.is_global_zero and name in tables:
                save(trainer, self.folder, draw(**tables[name], split=title), called(trainer, name, split))


def save(trainer: pl.Trainer, folder: Path, figure: Figure, name: str) -> None:
    """Write plots/<name>.png, and show it in W&B."""
    path = folder / "plots" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box stands for it
        figure.savefig(path, dpi=120, bbox_inches="tight")
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(f"plots/{name}", [str(path)])


def learning_curve(metrics: pd.DataFrame) -> Figure:
    """Losses on the left, scores on the right, over optimizer steps; percentages share their axis with no shares."""
    figure = Figure(figsize=(10, 3.8))
    losses, scores = figure.subplots(1, 2)
    if "train/loss" in metrics:
        train = metrics[["step", "train/loss"]].dropna()
        smooth = train["train/loss"].ewm(span=max(2, len(train) // 20)).mean()
        losses.plot(train["step"], train["train/loss"], color="tab:blue", alpha=0.25, linewidth=0.8)
        losses.plot(train["step"], smooth, color="tab:blue", label="train (smoothed)")
    told = [name for name in metrics if name.startswith("val/") and name not in {"val/loss", *UNDRAWN}]
    percentages = [name for name in told if name.startswith(OF_100)]
    drawn = [(losses, "val/loss", "tab:orange")] if "val/loss" in metrics else []
    for axis, name, color in (*drawn, *((scores, name, None) for name in percentages or told)):
        values = metrics[["step", name]].dropna()
        axis.plot(values["step"], values[name], marker="o", markersize=3, label=name, color=color)
    if percentages:
        scores.set_ylim(0, min(100, scores.get_ylim()[1]))  # of what is written at first TER may be several hundred
    losses.set(xlabel="optimizer step", ylabel="mean over targets", title="Loss")
    scores.set(xlabel="optimizer step", title="Validation")
    for axis in (losses, scores):
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend()
    return figure


def confusion_matrix(classes: list[str], counts: list[list[int]], split: str) -> Figure:
    """Rows are the true classes, shaded by the share of their row."""
    size = max(3.5, 0.7 * len(classes) + 2)
    figure = Figure(figsize=(size + 0.8, size))
    axis = figure.subplots()
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class", fraction=0.046)
    names = [str(name)[:16] for name in classes]
    axis.set_xticks(range(len(classes)), names, rotation=45, ha="right")
    axis.set_yticks(range(len(classes)), names)
    axis.set(xlabel="predicted", ylabel="true", title=f"Confusion matrix ({split})")
    for true, row in enumerate(counts):
        for predicted, count in enumerate(row):
            color = "white" if shares[true][predicted] > 0.5 else "black"
            axis.text(predicted, true, f"{count:,}", ha="center", va="center", color=color)
    return figure


def estimates(scores: list[float], estimates: list[float], split: str) -> Figure:
    """A point for each text, and the line on which all would lie that are told exactly."""
    figure = Figure(figsize=(4.6, 4.3))
    axis = figure.subplots()
    ends = min(scores), max(scores)
    axis.plot(ends, ends, color="gray", linewidth=1)
    axis.scatter(scores, estimates, s=6, alpha=0.35, linewidths=0)
    axis.set(xlabel="true score", ylabel="estimate", title=f"Estimates ({split})")
    axis.grid(alpha=0.3)
    return figure

"""metrics.csv: every logged step of a training, whatever other loggers there are."""

from lightning.pytorch.loggers import CSVLogger

from lmlab.ranges import PositiveInt


def make(folder: str, *, flush_logs_every_n_steps: PositiveInt = 50) -> CSVLogger:
    """A logger that writes `<folder>/metrics.csv`, with no name or version folder between."""
    return CSVLogger(folder, name="", version="", flush_logs_every_n_steps=flush_logs_every_n_steps)

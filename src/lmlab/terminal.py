"""What a person reads in the terminal, and the copy of it that stays in the run folder."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.table import Table


class Tee:
    """A text stream that is also written to a file; redrawn lines (progress bars) are not."""

    def __init__(self, stream: TextIO, copy: TextIO) -> None:
        self.stream, self.copy = stream, copy

    def write(self, text: str) -> int:
        if "\r" not in text and "\x1b[A" not in text:
            self.copy.write(text)
        return self.stream.write(text)

    def flush(self) -> None:
        self.copy.flush()
        self.stream.flush()

    def __getattr__(self, name: str):
        return getattr(self.stream, name)


@contextlib.contextmanager
def logged(path: Path) -> Iterator[None]:
    """Everything printed within is also appended to `path`."""
    with path.open("a", encoding="utf-8") as copy, contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(Tee(sys.stdout, copy)))
        stack.enter_context(contextlib.redirect_stderr(Tee(sys.stderr, copy)))
        yield


class Said(logging.Handler):
    """Log records as plain lines on whatever standard error is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        print(prefix + record.getMessage(), file=sys.stderr)


def speak() -> None:
    """Let lmlab's own log be read, and leave out what Lightning tells of itself and the hints that do not fit us."""
    ours = logging.getLogger("lmlab")
    if not ours.handlers:
        ours.addHandler(Said())
        ours.setLevel(logging.INFO)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message="Sparse (invariant checks|CSR tensor support)")  # made in nn/pairs.py
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*recommended to use `self.log.*sync_dist=True.*")  # they are global
    warnings.filterwarnings("ignore", message="You.re resuming from a checkpoint that ended before the epoch ended.*")


def print_table(title: str, rows: Mapping[str, object]) -> None:
    """Two columns: what, and how much."""
    table = Table(title=title, title_justify="left", show_header=False, title_style="bold")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    show(table)


def print_columns(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with a header; all columns but the first are numbers."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    show(table)


def show(table: Table) -> None:
    Console(
        file=sys.stdout, highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 110
    ).print(table)

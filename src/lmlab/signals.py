"""Being asked to stop: at once, or, where a training can be saved, at the next step."""

import contextlib
import ctypes
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from lmlab.errors import Stopped

ASKING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))
asked: list[int] = []  # signals that came while somebody was listening
listeners: list[object] = []


def listen() -> None:
    """From now on a signal that asks to stop raises Stopped, or is noted where somebody looks for it."""
    if threading.current_thread() is threading.main_thread():
        for number in (*ASKING, signal.SIGINT):
            signal.signal(number, heard)


def heard(number: int, frame: FrameType | None) -> None:
    """The handler: a second signal stops at once, whatever the first one is waiting for."""
    asked.append(number)
    if not listeners or len(asked) > 1:
        raise Stopped(signal.Signals(number).name)


def leave_to_parent(worker: int) -> None:
    """In a loader's worker process: a signal to the whole group is its parent's, which ends it when it has saved."""
    for number in (*ASKING, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def die_with_parent() -> None:
    """Ask Linux to end this process when the one that started it ends; elsewhere the closed connection does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """The time in which a first signal is only noted in `asked`."""
    listener = object()
    listeners.append(listener)
    try:
        yield
    finally:
        listeners.remove(listener)
        asked.clear()

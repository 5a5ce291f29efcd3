"""A job of a sweep in a process of its own: neither a crash, nor memory, nor state of one reaches the next."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lmlab.sweeps.parent import PARENT

RUN = Path(__file__).resolve().parents[2] / "run.py"
SWEEP = "LMLAB_SWEEP"  # environment of what a sweep starts: its process
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def in_own_process(arguments: Sequence[str], environment: dict[str, str]) -> int:
    """The exit code of `python src/run.py <arguments>`; asked to stop, it lets the job end and then stops the sweep.

    A session of its own, so that Ctrl-C in a terminal reaches the job once, from here.
    """
    asked: list[int] = []
    with handled(PASSED_ON, lambda number, _: asked.append(number)):
        job = subprocess.Popen(
            [sys.executable, str(RUN), *arguments],
            env=os.environ | environment | {PARENT: str(os.getpid())},
            start_new_session=True,
        )
        told = 0
        above = os.getppid() if os.environ.get(SWEEP) == str(os.getppid()) else None  # this is a launcher's worker
        while job.poll() is None:
            if above not in (None, os.getppid()) and not asked:  # the sweep was killed
                asked.append(signal.SIGTERM)
            for number in asked[told:]:
                job.send_signal(number)
                told += 1
            with contextlib.suppress(subprocess.TimeoutExpired):
                job.wait(0.2)
    if above not in (None, os.getppid()):
        os._exit(143)  # nobody waits for the answer of an orphaned worker
    return 128 + (asked[0] if asked else -job.returncode) if asked or job.returncode < 0 else job.returncode


@contextlib.contextmanager
def handled(numbers: Sequence[int], handler: Callable[[int, Any], None]) -> Iterator[None]:
    """The time in which signals go to `handler`; Python takes them in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextlib.contextmanager
def own_share(folder: Path, n_parallel: int) -> Iterator[dict[str, str]]:
    """One of `n_parallel` shares of this machine: its cores are this process's meanwhile, its GPUs in what it yields.

    A share is taken by locking a file, so that it is free again however its holder ends.
    """
    if n_parallel == 1:
        yield {}
        return
    (folder / "shares").mkdir(parents=True, exist_ok=True)
    for share in itertools.cycle(range(n_parallel)):
        lock = FileLock(folder / "shares" / str(share))
        with contextlib.suppress(Timeout):
            lock.acquire(blocking=False)
            break
        time.sleep(0.05)
    try:
        with own_cores(share, n_parallel):
            mine = part(visible_gpus(), share, n_parallel)
            yield {"CUDA_VISIBLE_DEVICES": ",".join(mine)} if mine else {}
    finally:
        lock.release()


@contextlib.contextmanager
def own_cores(share: int, n_parallel: int) -> Iterator[None]:
    """What is started within runs on a share of the cores; torch counts its threads by them."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, part(sorted(cores), share, n_parallel))
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def part(things: Sequence[Any], share: int, n_parallel: int) -> Sequence[Any]:
    """Neighbouring things, as many for each share; where there are fewer things than shares, one, in turns."""
    size = len(things) // n_parallel
    if size == 0:
        return [things[share % len(things)]] if things else []
    return things[share * size : (share + 1) * size]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in named.split(",") if gpu]
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, timeout=60).stdout.split()

"""Several processes from one run folder: rank 0 composes and checks, every other rank reads what it wrote.

Stock Lightning starts ranks by repeating the command line, which in a sweep repeats the sweep.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from lmlab.errors import LmlabError, Stopped
from lmlab.run_directory import RunDirectory

VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
STOPPED = {143: "SIGTERM", 130: "SIGINT", -signal.SIGTERM: "SIGTERM", -signal.SIGINT: "SIGINT"}  # exit codes of a rank
GRACE = 10.0  # seconds that a rank has to end by itself once another has failed


class RunFolderLauncher(_SubprocessScriptLauncher):
    """Starts `python -m lmlab.worker <run folder> <config>` once for each further rank of this machine."""

    def __init__(self, strategy: "DDP") -> None:
        assert strategy.cluster_environment is not None
        super().__init__(strategy.cluster_environment, strategy.num_processes, strategy.num_nodes)
        self.strategy = strategy

    def launch(self, function: Callable, *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
            threading.Thread(target=self.watch, daemon=True).start()
        return function(*args, **kwargs)

    def _call_children_scripts(self) -> None:
        self._check_can_spawn_children()
        os.environ |= {
            "MASTER_ADDR": self.cluster_environment.main_address,
            "MASTER_PORT": str(self.cluster_environment.main_port),
            "NODE_RANK": str(self.cluster_environment.node_rank()),
            "LOCAL_RANK": "0",
            "WORLD_SIZE": str(self.num_processes * self.num_nodes),
        }
        source = str(Path(__file__).parents[1])
        path = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
        for rank in range(1, self.num_processes):
            with self.strategy.log(rank).open("a") as log:
                self.procs.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "lmlab.worker", *map(str, self.strategy.job)],
                        env=os.environ | {"LOCAL_RANK": str(rank), "PYTHONPATH": path},
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )

    def watch(self) -> None:
        """End this process if another rank has failed and no collective has told this one within the grace time.

        A rank 0 that waits for the others to meet it cannot be interrupted: its record is closed from here.
        """
        while self.procs:
            codes = [process.poll() for process in self.procs]
            failed = [rank for rank, code in enumerate(codes, 1) if code]
            if failed:
                time.sleep(GRACE)
                if not self.procs:
                    return
                end = self.failure() or LmlabError("a rank failed")
                run = RunDirectory(self.strategy.job[0])
                run.update_manifest(status="preempted" if isinstance(end, Stopped) else "failed")
                (run.path / "error.txt").write_text(f"{end}\n", encoding="utf-8")
                print(f"error: {end}", file=sys.__stderr__, flush=True)
                self.end()
                os._exit(end.exit_code)
            if None not in codes:
                return
            time.sleep(0.5)

    def failure(self, patience: float = 0.0) -> LmlabError | Stopped | None:
        """What became of the first other rank that has failed, or does so within `patience` seconds."""
        deadline = time.monotonic() + patience
        while True:
            for rank, process in enumerate(self.procs, 1):
                code, log = process.poll(), str(self.strategy.log(rank))
                if code in STOPPED:
                    return Stopped(STOPPED[code])
                if code is not None and code < 0:
                    return LmlabError(f"rank {rank} was killed by {signal.Signals(-code).name}", log, "See there")
                if code:
                    error = LmlabError(f"rank {rank} failed", log, "Its log says why")
                    error.exit_code = code
                    return error
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.1)

    def end(self, patience: float = 0.0) -> None:
        """Wait for the other ranks, then kill those that are left."""
        deadline = time.monotonic() + patience
        for process in self.procs:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.wait()
        self.procs = []


class DDP(DDPStrategy):
    """Lightning's DDP, its ranks started from the run folder `job[0]` with the config file `job[1]`."""

    def __init__(self, job: tuple[Path, Path], log: Callable[[int], Path], **kwargs: Any) -> None:
        super().__init__(forward_sync_buffers=False, **kwargs)  # ranks count the same: nothing to correct
        self.job, self.log = job, log

    def _setup_model(self, model: torch.nn.Module) -> torch.nn.Module:  # type: ignore[override]
        """A model that is counted has no gradient to share, which DDP would refuse."""
        return super()._setup_model(model) if any(p.requires_grad for p in model.parameters()) else model

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        if not self.cluster_environment.creates_processes_externally:
            self._launcher = RunFolderLauncher(self)


@contextlib.contextmanager
def processes(trainer: Any, n_local: int) -> Iterator[None]:
    """The time in which a job's ranks live: cores are shared out before it, nothing is left of it after."""
    threads, before = torch.get_num_threads(), {name: os.environ.get(name) for name in VARIABLES}
    torch.set_num_threads(max(1, min(threads, available_cores() // n_local)))  # OMP_NUM_THREADS may ask for fewer
    launcher, patience = trainer.strategy.launcher, 0.0
    try:
        yield
        patience = 60.0
    except Stopped:
        patience = 10.0
        raise
    except Exception as error:
        # when another process dies, this one learns it from a broken connection
        told = isinstance(error, LmlabError) or not isinstance(launcher, RunFolderLauncher)
        if end := None if told else launcher.failure(patience=2.0):
            raise end from error
        raise
    finally:
        if dist.is_available():
            if dist.is_initialized():
                dist.destroy_process_group()
            # a group whose ranks never met is counted all the same: the next one would wait for them by another name
            dist.distributed_c10d._world.group_count = 0
        if isinstance(launcher, RunFolderLauncher):
            launcher.end(patience)
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
        torch.set_num_threads(threads)


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

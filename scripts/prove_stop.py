"""Ask a real training on two processes to stop, again and again, and go on with it each time.

    python scripts/prove_stop.py --times 10

SIGTERM goes to rank 0, to rank 1, or to the whole group, at a moment drawn by chance: in a step, in a validation, while
a checkpoint is written. Each time the run must end with code 143 in under `--patience` seconds, leave no process, call
itself preempted, and go on from the step it stopped at.
"""

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from prove_resume import JOB, last_step, start

ROOT = Path(__file__).resolve().parents[1]
RECEIVERS = ("rank 0", "rank 1", "group")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10, help="for each receiver")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds from the signal to the end of all")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    arguments = parser.parse_args()
    chance, wrong, seconds = random.Random(arguments.seed), 0, []
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "transformer-rotten_tomatoes" / "run"
        command = [*JOB, "trainer=ddp", "trainer.max_epochs=999", f"run.output={folder}", "run.id=run"]
        for number in range(arguments.times * len(RECEIVERS)):
            receiver = RECEIVERS[number % len(RECEIVERS)]
            faults, took, saved, steps = stopped(command, run, receiver, chance.uniform(0, 2), arguments.patience)
            seconds.append(took)
            wrong += bool(faults)
            told = "; ".join(faults) or "143, saved, nothing left"
            print(
                f"SIGTERM to {receiver}, after step {steps}: {told} (saved in {saved:.1f} s, ended in {took:.1f} s)",
                flush=True,
            )
            command = [f"resume={run}"]
    print(
        f"{len(seconds)} signals, {wrong} faults; {median(seconds):.1f} s to the end of all, at most {max(seconds):.1f}"
    )
    return 1 if wrong else 0


def stopped(
    command: list[str], run: Path, receiver: str, wait: float, patience: float
) -> tuple[list[str], float, float, int]:
    """Let a run do two steps or more, signal it: (what was wrong, seconds to its end, to its save, steps saved)."""
    begun = last_step(run / "checkpoints")
    process = start(command)
    while last_step(run / "checkpoints") <= begun:
        if process.poll() is not None:
            return [f"it ended by itself with {process.returncode}, before any new step"], 0.0, 0.0, begun
        time.sleep(0.01)
    time.sleep(wait)
    group = list(members(process.pid))
    ranks = [pid for pid in group if "lmlab.worker" in Path(f"/proc/{pid}/cmdline").read_text()]
    asked, signalled = time.monotonic(), time.time()
    if receiver == "group":
        os.killpg(process.pid, signal.SIGTERM)
    else:
        os.kill(process.pid if receiver == "rank 0" else ranks[0], signal.SIGTERM)
    faults = []
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        faults.append(f"still there after {patience} s")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    took = time.monotonic() - asked
    if process.returncode != 143:
        faults.append(f"exit code {process.returncode}")
    if left := list(members(process.pid)):
        faults.append(f"{len(left)} processes left")
    if (status := json.loads((run / "manifest.json").read_text())["status"]) != "preempted":
        faults.append(f"the manifest says {status}")
    logged, saved = steps(run), last_step(run / "checkpoints")
    if logged != list(range(saved)):
        faults.append(f"{len(logged)} steps logged, the last checkpoint is of step {saved}")
    written = max(file.stat().st_mtime for file in (run / "checkpoints").glob("step-*.ckpt.json"))
    return faults, took, max(0.0, written - signalled), saved


def members(group: int) -> Iterator[int]:
    """The living processes of a process group."""
    listed = subprocess.run(["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        pid, its_group, state = line.split()[:3]
        if int(its_group) == group and not state.startswith("Z"):
            yield int(pid)


def steps(run: Path) -> list[int]:
    with (run / "metrics.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row.get("train/loss")]


if __name__ == "__main__":
    sys.exit(main())

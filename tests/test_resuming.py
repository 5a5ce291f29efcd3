"""A training that was killed, stopped, or hit a wall goes on as if nothing had happened: real processes."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from jobs import ROOT, TINY, inside, only_run, write_reviews
from lmlab.checkpointing import fault_of, load, newest_first

LONG = [override for override in TINY if "max_epochs" not in override]
LONG += [
    "callbacks.ema.decay=0.9",
    "trainer.max_epochs=300",
    "data=text_files",
    "data.path=reviews",
    "model.network.ngram_rows=500",
]
SAVING = ["callbacks.checkpoint.every_n_steps=3"]


def started(cwd, *overrides):
    """A training in the background, and its folder once it has saved something."""
    write_reviews(cwd / "reviews")
    command = [sys.executable, str(ROOT / "src" / "run.py"), *LONG, *SAVING, *overrides]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(cwd.glob("outputs/*/*/checkpoints/step-00000003*.json")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1][-2000:]
        time.sleep(0.02)
    return process, only_run(cwd)


def workers(process) -> list[int]:
    """The processes that a training has started for its other ranks."""
    listed = subprocess.run(["pgrep", "-f", "lmlab.worker", "-g", str(process.pid)], capture_output=True, text=True)
    return [int(number) for number in listed.stdout.split()]


def losses(run):
    with (run / "metrics.csv").open() as file:
        return {int(row["step"]): row["train/loss"] for row in csv.DictReader(file) if row.get("train/loss")}


def weights(run, name="last.ckpt"):
    return torch.load(run / "checkpoints" / name, weights_only=True)["state_dict"]


def test_killed_and_resumed_equals_never_killed(tmp_path):
    process, run = started(tmp_path / "cut", "trainer.max_steps=14", "trainer.accumulate_grad_batches=2")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = inside(f"resume={run}", cwd=tmp_path / "cut")
    assert "going on from step" in done.stderr
    write_reviews(tmp_path / "whole" / "reviews")
    inside(*LONG, *SAVING, "trainer.max_steps=14", "trainer.accumulate_grad_batches=2", cwd=tmp_path / "whole")
    whole = only_run(tmp_path / "whole")
    assert losses(run) == losses(whole) and len(losses(run)) == 14
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(run)[name]), name
    assert json.loads((run / "manifest.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(
    ("trainer", "receiver", "number", "code"),
    [
        ("cpu", "group", signal.SIGINT, 130),
        ("ddp", "rank 0", signal.SIGTERM, 143),
        ("ddp", "rank 1", signal.SIGUSR1, 143),
    ],
)
def test_a_signal_saves_the_step_and_the_run_goes_on_from_it(tmp_path, trainer, receiver, number, code):
    process, run = started(tmp_path, f"trainer={trainer}", "seed=3")
    others = workers(process)
    match receiver:
        case "group":
            os.killpg(process.pid, number)
        case "rank 0":
            os.kill(process.pid, number)
        case "rank 1":
            os.kill(others[0], number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code and f"Go on with resume={run.relative_to(tmp_path)}" in said, said
    assert not any(os.path.exists(f"/proc/{other}") for other in others)
    assert json.loads((run / "manifest.json").read_text())["status"] == "preempted"
    done = len(losses(run))
    assert f"step-{done:08d}" in os.readlink(run / "checkpoints" / "last.ckpt")
    if trainer == "cpu":  # found again by its config; a damaged checkpoint is named, and the one before it is taken
        last = (run / "checkpoints" / "last.ckpt").resolve()
        last.write_bytes(last.read_bytes()[:-100])
        again = inside(
            *LONG,
            *SAVING,
            "seed=3",
            "resume=auto",
            "trainer=cpu",
            "trainer.max_time=00:00:00:01",
            cwd=tmp_path,
            check=False,
        )
        assert again.returncode == 143 and "stopped by trainer.max_time" in again.stderr
        assert "the checkpoint is cut" in again.stderr and last.name in again.stderr
        assert only_run(tmp_path) == run and last.with_name(f"{last.name}.damaged").exists()


def test_a_killed_rank_is_named(tmp_path):
    process, run = started(tmp_path, "trainer=ddp")
    (other,) = workers(process)
    os.kill(other, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and "error: rank 1 was killed by SIGKILL" in said.splitlines()[-1]


def test_not_a_number_stops_the_run_at_its_step(tmp_path):
    write_reviews(tmp_path / "reviews")
    done = inside(
        *LONG, *SAVING, "optimizer=sgd", "optimizer.lr=1e30", "model.clip_norm=null", cwd=tmp_path, check=False
    )
    said = done.stderr.splitlines()[-1]
    assert done.returncode == 70 and said.startswith("error: loss ") and "gradient norm" in said and "step" in said
    run = only_run(tmp_path)
    for path in (run / "checkpoints").glob("step-*.ckpt"):
        assert all(tensor.isfinite().all() for tensor in weights(run, path.name).values() if tensor.is_floating_point())
    assert "NotANumber" in (run / "error.txt").read_text()


def test_a_full_disk_ends_the_run_with_the_last_good_checkpoint(tmp_path):
    disk = tmp_path / "outputs"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no permission to mount a small disk")
    try:
        write_reviews(tmp_path / "reviews")
        keep = ["callbacks.checkpoint.every_n_steps=1", "callbacks.checkpoint.keep_last=999"]
        done = inside(*LONG, *keep, cwd=tmp_path, check=False)
        said = done.stderr.splitlines()[-1]
        assert done.returncode == 74 and said.startswith("error: ") and "No space left on device" in said
        newest = next(newest_first(only_run(tmp_path) / "checkpoints"))
        assert fault_of(newest) is None and load(newest)["facts"]["step"] > 1
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)

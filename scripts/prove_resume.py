"""Kill a real training with -9 again and again, resume it each time, and compare it with one that was left alone.

    python scripts/prove_resume.py --kills 20
    python scripts/prove_resume.py --kills 20 --scenario processes accumulation workers one-to-two
    python scripts/prove_resume.py --kills 20 --scenario decoder gpt2 rnn lstm gru lstm-processes masked lora vae

A third of the kills comes while a checkpoint is being written, the others at any moment: in a step, in a validation,
while the process starts. Compared are every logged loss and gradient norm, every validation and the last weights:
bit for bit, and to 1e-5 where the number of processes changes.
"""

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

JOB = [
    "data=rotten_tomatoes",
    "tokenizer.vocab_size=2000",
    "data.batch_tokens=1024",
    "model.network.d_model=32",
    "trainer.log_every_n_steps=1",
    "trainer.val_check_interval=7",
    "trainer.limit_test_batches=1",
    "data.eval_batch_tokens=2048",
    "+logger.csv.flush_logs_every_n_steps=3",
    "callbacks.checkpoint.every_n_steps=2",
]
TRANSFORMER = ["model.network.d_ff=64", "model.network.ngram_rows=2000"]
RAW = ["task=causal_lm", "data.max_length=32", "callbacks.samples=null"]
RECURRENT = [*RAW, "model.network.weight_dropout=0.2", "model.network.n_layers=2"]
BERT = ["model=bert_tiny", "model.network.n_heads=2"]
THREE = ["trainer.accumulate_grad_batches=3", "trainer.val_check_interval=21", "data.min_rows=12"]
SCENARIOS: dict[str, tuple[list[str], list[str]]] = {  # overrides of all attempts, and of all after the first
    "plain": (TRANSFORMER, []),
    "processes": ([*TRANSFORMER, "trainer=ddp"], []),
    "accumulation": ([*TRANSFORMER, *THREE], []),
    "workers": ([*TRANSFORMER, "data.n_workers=2"], []),
    "one-to-two": ([*TRANSFORMER, "trainer=cpu"], ["trainer=ddp"]),
    "decoder": ([*TRANSFORMER, *RAW, "model.network.positions=rotary"], []),
    "gpt2": ([*RAW, "model=gpt2", "model.network.n_heads=2", "model.network.n_layers=2"], []),
    "rnn": ([*RECURRENT, "model=rnn"], []),
    "lstm": ([*RECURRENT, "model=lstm"], []),
    "gru": ([*RECURRENT, "model=gru"], []),
    "masked": ([*BERT, "task=masked_lm", *RAW[1:]], []),
    "lora": ([*BERT, "model.lora_rank=2", "model.layer_decay=0.8"], []),
    "vae": (["task=autoencoding", "model=vae", "model.network.decoder=transformer", "callbacks.samples=null"], []),
    "lstm-processes": ([*RECURRENT, "model=lstm", "trainer=ddp"], []),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=["plain"])
    parser.add_argument("--seed", type=int, default=1, help="of the moments at which the process is killed")
    arguments = parser.parse_args()
    worst = 0
    for name in arguments.scenario:
        with tempfile.TemporaryDirectory() as folder:
            worst += proved(name, arguments.kills, random.Random(arguments.seed), Path(folder))
    return 1 if worst else 0


def proved(name: str, kills: int, chance: random.Random, folder: Path) -> int:
    always, later = SCENARIOS[name]
    typed = {override.partition("=")[0] for override in always}
    job = [override for override in JOB if override.partition("=")[0] not in typed]
    begin = [*job, *always, f"trainer.max_steps={10 * kills}", f"run.output={folder}"]
    finish([*begin, "run.id=whole"])
    whole = next(folder.glob("*/whole"))
    cut = whole.with_name("cut")
    command, done, resumed = [*begin, "run.id=cut"], 0, [f"resume={cut}", *later]
    moments = []
    while done < kills:
        process = start(command)
        moment = killed(process, cut, chance, while_writing=done % 3 == 2)
        if moment is None:
            break
        moments.append(moment)
        done += 1
        command = resumed if (cut / "config.yaml").exists() else command
        print(f"{name}: kill {done} of {kills}, {moment}", flush=True)
    finish(command)
    differing, compared = differences(whole, cut, tolerance=1e-5 if later else 0.0)
    print(f"{name}: {done} kills, {compared} numbers and weights compared, {len(differing)} differences", flush=True)
    for line in differing[:10]:
        print(f"  {line}")
    return len(differing) + (done < kills)


def start(overrides: list[str]) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "src" / "run.py"), *overrides]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def finish(overrides: list[str]) -> None:
    command = [sys.executable, str(ROOT / "src" / "run.py"), *overrides]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def killed(process: subprocess.Popen, run: Path, chance: random.Random, while_writing: bool) -> str | None:
    """Kills rank 0 with -9 once it has gone on for a while; the moment in words, None if it ended before."""
    checkpoints = run / "checkpoints"
    begun = last_step(checkpoints)
    ahead = chance.choice([0, 2, 2, 4])
    wait = chance.uniform(0, 1.0) if ahead else chance.uniform(1, 6)
    while process.poll() is None:
        if ahead == 0 and not while_writing:
            time.sleep(wait)
            break
        if last_step(checkpoints) >= begun + max(ahead, 2):
            if not while_writing:
                time.sleep(wait)
                break
            if list(checkpoints.glob(".*.partial")):
                break
        time.sleep(0.0005)
    if process.poll() is not None:
        return None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # its ranks and workers follow it
    place = "while writing a checkpoint" if list(checkpoints.glob(".*.partial")) else "elsewhere"
    return f"{place}, after step {last_step(checkpoints)}"


def last_step(checkpoints: Path) -> int:
    return max((int(path.name[5:13]) for path in checkpoints.glob("step-*.ckpt.json")), default=0)


def differences(whole: Path, cut: Path, tolerance: float) -> tuple[list[str], int]:
    import torch

    differing, compared = [], 0
    expected, found = logged(whole), logged(cut)
    for key in sorted(expected.keys() | found.keys()):
        compared += 1
        one, other = expected.get(key), found.get(key)
        same = one == other if not tolerance or None in (one, other) else abs(float(one) - float(other)) <= tolerance
        if not same:
            differing.append(f"{key}: {one} without kills, {other} with")
    weights = [torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in (whole, cut)]
    for name, tensor in weights[0].items():
        compared += 1
        if not torch.allclose(tensor, weights[1][name], atol=10 * tolerance, rtol=0):
            differing.append(f"weights {name}: {(tensor - weights[1][name]).abs().max():.3g} apart")
    return differing, compared


def logged(run: Path) -> dict[tuple[str, int], str]:
    """(name, step) -> number as it was written; speed is no result."""
    values = {}
    with (run / "metrics.csv").open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            for name, value in row.items():
                if value and name.startswith(("train/", "val/")):
                    key = (name, int(row["step"]))
                    if name.startswith("val/") and values.get(key, value) != value:
                        key = (f"{name} (best)", int(row["step"]))
                    if values.setdefault(key, value) != value:
                        values[(f"{name} twice, in row {number}", int(row["step"]))] = value
    return values


if __name__ == "__main__":
    sys.exit(main())

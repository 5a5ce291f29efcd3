"""One job on two hosts: two Linux network namespaces with an address each, `torchrun --nnodes=2` in both.

    python scripts/two_hosts.py

Needs the right to make namespaces (root, or a container that has it) and iproute2's `ip`; says so and ends with 0
where it may not. Compared with the same job in one process: every logged loss, to 1e-5. Checked: one run folder.
"""

import csv
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOSTS = {"lmlab-a": "10.77.0.1", "lmlab-b": "10.77.0.2"}
JOB = [
    "data=rotten_tomatoes",
    "tokenizer.vocab_size=2000",
    "model.network.d_model=32",
    "model.network.d_ff=64",
    "model.network.ngram_rows=2000",
    "data.batch_tokens=2048",
    "trainer.max_steps=12",
    "trainer.log_every_n_steps=1",
    "trainer.limit_test_batches=2",
    "logger=csv",
]


def main() -> int:
    if not make_hosts():
        print("skipped: network namespaces cannot be made here (they need root and iproute2)")
        return 0
    try:
        with tempfile.TemporaryDirectory() as folder:
            return compared(Path(folder))
    finally:
        remove_hosts()


def make_hosts() -> bool:
    remove_hosts()
    commands = [f"ip netns add {host}" for host in HOSTS]
    commands.append("ip link add lmlab-a netns lmlab-a type veth peer name lmlab-b netns lmlab-b")
    for host, address in HOSTS.items():
        commands += [f"ip -n {host} addr add {address}/24 dev {host}"]
        commands += [f"ip -n {host} link set {part} up" for part in (host, "lo")]
    if shutil.which("ip") is None:
        return False
    return all(subprocess.run(command.split(), capture_output=True).returncode == 0 for command in commands)


def remove_hosts() -> None:
    if shutil.which("ip"):
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], capture_output=True)


def compared(folder: Path) -> int:
    run = [sys.executable, str(ROOT / "src" / "run.py"), *JOB, f"run.output={folder}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*run, "run.id=one", "trainer=cpu"], check=True, env=environment, stdout=subprocess.DEVNULL)
    ranks = []
    for number, (host, address) in enumerate(HOSTS.items()):
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
        torchrun += [f"--node-rank={number}", f"--master-addr={HOSTS['lmlab-a']}", "--master-port=29517"]
        torchrun += [f"--local-addr={address}", "--rdzv-id=two-hosts"]
        command = ["ip", "netns", "exec", host, *torchrun, *run[1:], "trainer=torchrun", "trainer.accelerator=cpu"]
        ranks.append(subprocess.Popen(command, env=environment | {"GLOO_SOCKET_IFNAME": host}))
    codes = [rank.wait(timeout=300) for rank in ranks]
    made = sorted(path.name for path in (folder / "transformer-rotten_tomatoes").iterdir())
    print(f"exit codes {codes}, run folders {made}")
    if codes != [0, 0] or made != ["one", "torchrun-two-hosts"]:
        return 1
    one, two = (losses(folder / "transformer-rotten_tomatoes" / name) for name in made)
    apart = max(abs(one[step] - two[step]) for step in one)
    print(f"{len(one)} losses on two hosts and on one, at most {apart:.2g} apart")
    return int(one.keys() != two.keys() or apart > 1e-5)


def losses(run: Path) -> dict[int, float]:
    with (run / "metrics.csv").open(newline="") as file:
        return {int(row["step"]): float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")}


if __name__ == "__main__":
    sys.exit(main())

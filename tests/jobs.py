"""Tiny real jobs: a corpus of a few made-up reviews, and the command line that trains on it in a second."""

import contextlib
import csv
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import run as front

PLANTED = {"WANDB_API_KEY": "c0ffee" * 6 + "cafe", "HF_TOKEN": "hf_PlantedPlantedPlanted"}  # no run may keep them
ROOT = Path(__file__).resolve().parents[1]
GOOD = [
    "a wonderful warm film",
    "great acting and a moving story",
    "i loved every minute of it",
    "a joy from start to end",
]
BAD = [
    "a dull and empty film",
    "poor acting and a boring story",
    "i hated every minute of it",
    "a bore from start to end",
]
TINY = [
    "tokenizer=word",
    "tokenizer.vocab_size=200",
    "tokenizer.min_frequency=1",
    "model.network.d_model=16",
    "model.network.n_heads=2",
    "model.network.d_ff=32",
    "model.network.n_layers=1",
    "data.batch_tokens=128",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
]


def write_reviews(folder: Path, n: int = 10, classes: tuple[str, ...] = ("negative", "positive")) -> Path:
    """A folder with train.csv, val.csv and test.csv, whose texts all differ."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, size in (("train", 4 * n), ("val", n), ("test", n + 1)):
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for row in range(size):
                label = row % len(classes)
                said = (BAD, GOOD)[label % 2][row // 2 % 4]
                writer.writerow([f"{split} {row} {said} " + "indeed " * (row % 7), classes[label]])
    return folder


def write_pairs(folder: Path, n: int = 40) -> list[str]:
    """Line-aligned files of a made-up language and English, word for word; the overrides that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {"un": "one", "duo": "two", "tri": "three", "kat": "cat", "hund": "dog"}
    said = list(words)
    rows = [[said[(row // 5**place) % 5] for place in range(2 + row % 3)] for row in range(n)]
    (folder / "pairs.eo").write_text("".join(f"{' '.join(row)}\n" for row in rows), encoding="utf-8")
    english = "".join(f"{' '.join(words[word] for word in row)}\n" for row in rows)
    (folder / "pairs.en").write_text(english, encoding="utf-8")
    return ["data=parallel_files", f"data.path={folder}/pairs.eo", f"data.target_path={folder}/pairs.en"]


def lmlab(*arguments: str, cwd: Path, check: bool = True, **options) -> subprocess.CompletedProcess:
    """`python src/run.py ...` in a process of its own."""
    command = [sys.executable, str(ROOT / "src" / "run.py"), *map(str, arguments)]
    environment = os.environ | PLANTED | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, timeout=180, **options)
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def inside(*arguments: str, cwd: Path, check: bool = True) -> SimpleNamespace:
    """The same in this process, where what a process of its own does is not what is tested."""
    stdout, stderr, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["src/run.py"]
    try:
        with (
            contextlib.chdir(cwd),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
            warnings.catch_warnings(action="ignore"),
        ):
            code = front.main(list(map(str, arguments)))
    finally:
        sys.argv = argv
    assert not check or code == 0, stderr.getvalue()[-3000:]
    return SimpleNamespace(returncode=code, stdout=stdout.getvalue(), stderr=stderr.getvalue())


def only_run(cwd: Path) -> Path:
    (run,) = (path.parent for path in cwd.glob("outputs/*/*/manifest.json"))
    return run

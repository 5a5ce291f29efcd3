"""How fast, how exact and how large indexes are: random vectors, the nearest of which no structure helps to find.

    python scripts/bench_index.py --rows 1000000 --kinds exact faiss

Each kind is built on disk as `stage=index` builds it and read from there by each search, as `stage=search` reads it.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np

from lmlab.stages.nearest import KINDS
from lmlab.terminal import print_columns

FOUND = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--factory", default="SQ8", help="of faiss")
    parser.add_argument("--links", type=int, default=32, help="of hnsw")
    parser.add_argument("--candidates", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vectors, queries = drawn(folder / "vectors.npy", arguments.rows, arguments.width, arguments.queries)
        expected = KINDS["exact"](folder, vectors).search(queries, FOUND)[1]
        rows = [measured(kind, folder / kind, vectors, queries, expected, arguments) for kind in arguments.kinds]
    header = ["kind", "built, s", "MiB beside vectors", "first query, s", "a query of many, ms", f"recall@{FOUND}"]
    print_columns(
        f"{arguments.rows:,} random vectors of {arguments.width}, {vectors.nbytes / 2**20:,.0f} MiB", header, rows
    )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:,.0f} MiB")


def drawn(file: Path, n_rows: int, width: int, n_queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of normal numbers, on disk, and queries of the same kind."""
    draw = np.random.default_rng(0)
    vectors = np.lib.format.open_memmap(file, "w+", np.float32, (n_rows, width))
    for first in range(0, n_rows, 2**16):
        part = draw.standard_normal((min(2**16, n_rows - first), width), np.float32)
        vectors[first : first + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    vectors.flush()
    queries = draw.standard_normal((n_queries, width), np.float32)
    mapped = np.load(file, mmap_mode="r").view(np.ndarray)
    return mapped, queries / np.linalg.norm(queries, axis=1, keepdims=True)


def measured(
    kind: str, folder: Path, vectors: np.ndarray, queries: np.ndarray, expected: np.ndarray, options: argparse.Namespace
) -> list[str]:
    folder.mkdir()
    began = time.perf_counter()
    KINDS[kind].build(folder, vectors, factory=options.factory, links=options.links)
    built = time.perf_counter() - began
    began = time.perf_counter()
    index = KINDS[kind](folder, vectors)
    index.search(queries[:1], FOUND, candidates=options.candidates)
    first = time.perf_counter() - began
    began = time.perf_counter()
    found = index.search(queries, FOUND, candidates=options.candidates)[1]
    each = (time.perf_counter() - began) / len(queries)
    right = np.mean([len(set(some) & set(all_of_them)) for some, all_of_them in zip(found, expected, strict=True)])
    size = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
    return [kind, f"{built:.1f}", f"{size:,.0f}", f"{first:.2f}", f"{1000 * each:.1f}", f"{right / FOUND:.3f}"]


if __name__ == "__main__":
    main()

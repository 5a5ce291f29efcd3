"""How rows that come as one split are cut into training, validation and test."""

import hashlib
from collections import Counter

import numpy as np

from lmlab.data.rows import Row, Splits
from lmlab.errors import DataError

NAMES = ("train", "val", "test")


def completed(
    splits: Splits,
    labels: dict[str, np.ndarray],
    *,
    unique: bool,
    val_share: float,
    test_share: float,
    block: int,
    seed: int,
    max_ratio: float | None = None,
    train_rows: int | None = None,
) -> tuple[Splits, dict[str, np.ndarray], Counter[str]]:
    """All three splits, the missing ones cut from the training rows, and how many rows that removed, by their kind.

    Splits that the source has stay as they are, as benchmarks are defined; a source without training rows stays
    as it is too. What is cut off holds no text that an earlier split holds. `unique` first leaves one of each text;
    what is left to train on loses pairs beyond `max_ratio`; at last `train_rows` training rows are drawn, the same in
    every run.
    """
    if "train" not in splits:
        return splits, labels, Counter()
    rows, numbers = splits["train"], labels["train"]
    texts = [_content(row) for row in rows]
    if unique:
        first = {text: i for i, text in reversed(list(enumerate(texts)))}
        kept = np.array(sorted(first.values()))
        rows, numbers, texts = [rows[i] for i in kept], numbers[kept], [texts[i] for i in kept]
    removed = Counter(duplicates=len(splits["train"]) - len(rows))
    shares = {name: share for name, share in (("val", val_share), ("test", test_share)) if name not in splits}
    strata = numbers if numbers.dtype.kind == "i" else np.zeros(len(numbers), np.int64)  # scores are no classes
    parts = stratified_blocks(strata, shares, block=block, seed=seed)
    seen: set[bytes] = set()
    for name, part in parts.items():
        parts[name] = part[[texts[i] not in seen for i in part]] if seen else part
        removed["duplicates"] += len(part) - len(parts[name])
        seen.update(texts[i] for i in part)
    if max_ratio is not None:
        alike = parts["train"][proportionate([rows[i] for i in parts["train"]], max_ratio)]
        removed["disproportionate"] = len(parts["train"]) - len(alike)
        parts["train"] = alike
    if train_rows is not None:
        parts["train"] = drawn(parts["train"], train_rows, seed)
    splits = splits | {name: [rows[i] for i in part] for name, part in parts.items()}
    labels = labels | {name: numbers[part] for name, part in parts.items()}
    return {name: splits[name] for name in NAMES}, {name: labels[name] for name in NAMES}, removed


def proportionate(rows: list[Row], max_ratio: float) -> np.ndarray:
    """Whether neither text of a pair is more than `max_ratio` times as long as the other, in characters, by what is
    usual in these rows: a Japanese sentence is shorter than the English one. Most others are misaligned."""
    sizes = np.array([(len(row.text), len(row.pair or "")) for row in rows], np.float64)
    ratio = sizes[:, 1] / sizes[:, 0] / (sizes[:, 1].sum() / sizes[:, 0].sum())
    alike = (ratio <= max_ratio) & (ratio >= 1 / max_ratio)
    if not alike.any():
        raise DataError("no training pair is left", f"data.max_ratio={max_ratio}", "Raise it: 1 asks for equal lengths")
    return alike


def drawn(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` of the rows in their order; more rows of one seed hold all that fewer do."""
    if count > len(rows):
        raise DataError(f"{count:,} training rows are asked for, and there are {len(rows):,}", "data.train_rows")
    return np.sort(np.random.default_rng(seed).permutation(rows)[:count])


def stratified_blocks(labels: np.ndarray, shares: dict[str, float], *, block: int, seed: int) -> dict[str, np.ndarray]:
    """Row numbers of "train" and of each share, in order: whole blocks of neighbouring rows of one class.

    Rows that stand side by side may be about one thing (IMDb's are ordered by film); a block keeps them together.
    """
    rng = np.random.default_rng(seed)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("train", *shares)}
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        blocks = np.split(rows, np.arange(block, len(rows), block))
        order = rng.permutation(len(blocks))
        taken = 0
        for name, share in shares.items():
            count = max(1, round(share * len(blocks))) if share and len(blocks) > len(shares) else 0  # rare: train
            parts[name] += [blocks[i] for i in order[taken : taken + count]]
            taken += count
        parts["train"] += [blocks[i] for i in order[taken:]]
    for name in parts:
        if not parts[name] and shares.get(name, 1):
            raise DataError(
                f"{len(labels)} training rows in blocks of {block} are too few to cut {', '.join(shares)} from",
                f"the {name} split would be empty",
                "Give more rows, a lower data.block, or files for each split",
            )
    return {name: np.sort(np.concatenate(some or [np.empty(0, np.int64)])) for name, some in parts.items()}


def shared(one: list[Row], other: list[Row]) -> int:
    """How many rows of `other` stand in `one` word for word."""
    texts = {_content(row) for row in one}
    return sum(_content(row) in texts for row in other)


def _content(row: Row) -> bytes:
    """What tells rows apart, whatever their white space: a hash, for a corpus may have millions."""
    sides = (" ".join(side.split()) for side in (row.text, row.pair or ""))
    return hashlib.blake2b("\n".join(sides).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def counts(labels: np.ndarray, classes: list[str]) -> dict[str, int]:
    found = Counter(labels.tolist())
    return {name: found[number] for number, name in enumerate(classes)}

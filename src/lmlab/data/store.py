"""The rows and tokens of a corpus as they lie in the cache."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lmlab.data.ragged import Ragged
from lmlab.data.rows import Splits, numbered, without_blanks
from lmlab.data.splits import completed, counts, shared
from lmlab.tokenizer import Tokenizer

log = logging.getLogger(__name__)

BLOCK = 1000  # texts tokenized at a time


class StoredRows:
    """The split texts and labels of a corpus, mapped from a cache entry that `write` made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        self.splits: list[str] = list(self.facts["rows"])

    @staticmethod
    def write(
        folder: Path,
        rows: Splits,
        classes: Sequence[str] | None,
        *,
        pairs: bool,
        max_blank: float,
        cut: dict[str, Any],
    ) -> None:
        """Drop blank rows, number the classes, cut the splits, and save all with what is to be told of it."""
        kept, blank = without_blanks(rows, max_blank)
        labels, names = numbered(kept, classes)
        splits, labels, removed = completed(kept, labels, **cut)
        both = shared(kept["train"], kept["test"]) if {"train", "test"} <= kept.keys() else 0
        content = hashlib.sha256(json.dumps(names).encode())
        for split, some in splits.items():
            np.save(folder / f"{split}.label.npy", labels[split])
            content.update(split.encode() + labels[split].tobytes())
            for side in ("text", "pair") if pairs else ("text",):
                texts = Ragged.from_texts(getattr(row, side) for row in some)
                texts.save(folder, f"{split}.{side}")
                content.update(texts.offsets.tobytes() + texts.values.tobytes())
        facts = {
            "fingerprint": content.hexdigest(),
            "classes": names,
            "rows": {split: len(some) for split, some in splits.items()},
            "class_counts": {split: counts(labels[split], names) for split in splits},
            "pairs": pairs,
            "blank_dropped": blank,
            "duplicates_removed": removed,
            "shared_train_test": both,
        }
        (folder / "facts.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
        if both:
            log.warning("%d test texts also stand in the training split word for word", both)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all splits, texts and labels."""
        return self.facts["fingerprint"]

    @property
    def sides(self) -> tuple[str, ...]:
        return ("text", "pair") if self.facts["pairs"] else ("text",)

    def labels(self, split: str) -> np.ndarray:
        return np.load(self.folder / f"{split}.label.npy", allow_pickle=False)

    def texts(self, split: str, side: str = "text") -> Ragged:
        return Ragged.load(self.folder, f"{split}.{side}")

    def read(self, split: str, clean: Callable[[str], str]) -> Iterator[str]:
        """All cleaned texts of a split, first and second ones."""
        for side in self.sides:
            texts = self.texts(split, side)
            yield from (clean(texts.text(row)) for row in range(len(texts)))


def write_tokens(folder: Path, stored: StoredRows, tokenizer: Tokenizer, clean: Callable[[str], str]) -> None:
    """Tokenize all splits: whole texts, so that one entry serves every max_length and way to truncate."""
    total = sum(stored.facts["rows"].values()) * len(stored.sides)
    with tqdm(total=total, desc="tokenize", unit=" texts", disable=None, leave=False) as progress:  # silent in files
        for split in stored.splits:
            for side in stored.sides:
                texts = stored.texts(split, side)
                all_texts = (clean(texts.text(row)) for row in range(len(texts)))
                tokenized(all_texts, len(texts), tokenizer, progress.update).save(folder, f"{split}.{side}")


def tokenized(
    texts: Iterator[str], count: int, tokenizer: Tokenizer, told: Callable[[int], object] = lambda n: None
) -> Ragged:
    """The ids of `count` texts, tokenized in blocks on all cores."""

    def blocks() -> Iterator[list[list[int]]]:
        for begin in range(0, count, BLOCK):
            block = [next(texts) for _ in range(min(BLOCK, count - begin))]
            yield tokenizer.encode(block)
            told(len(block))

    return Ragged.from_tokens(blocks(), np.uint16 if len(tokenizer) <= 2**16 else np.uint32)

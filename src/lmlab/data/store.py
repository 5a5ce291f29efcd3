"""The rows and tokens of a corpus as they lie in the cache."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from lmlab.data.ragged import Ragged, RaggedWriter
from lmlab.data.rows import Splits, measured, numbered, without_blanks
from lmlab.data.splits import completed, counts, shared
from lmlab.tokenizer import Tokenizer

log = logging.getLogger(__name__)

BLOCK, CHARACTERS = 1000, 2**23  # texts, and characters, tokenized at a time


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
        labels: Literal["classes", "scores"] | None = "classes",
        sides: Sequence[str],
        max_blank: float,
        cut: dict[str, Any],
        counted: dict[str, int] | None = None,
    ) -> None:
        """Drop blank rows, number the classes or read the scores, cut the splits, save all with what is to be told:
        also what the source has `counted`."""
        kept, blank = without_blanks(rows, max_blank)
        names = None
        if labels == "classes":
            values, names = numbered(kept, classes)
        else:
            values = measured(kept) if labels else {split: np.zeros(len(some), int) for split, some in kept.items()}
        splits, values, removed = completed(kept, values, **cut)
        both = shared(kept["train"], kept["test"]) if {"train", "test"} <= kept.keys() else 0
        content = hashlib.sha256(json.dumps(names).encode())
        for split, some in splits.items():
            content.update(split.encode())
            if labels:
                np.save(folder / f"{split}.label.npy", values[split])
                content.update(values[split].tobytes())
            for side in sides:
                texts = Ragged.from_texts(getattr(row, side) for row in some)
                texts.save(folder, f"{split}.{side}")
                content.update(texts.offsets.tobytes() + texts.values.tobytes())
            if any(row.answers is not None for row in some):
                told = Ragged.from_texts(json.dumps(row.answers) for row in some)
                told.save(folder, f"{split}.answers")
                content.update(told.values.tobytes())
        facts = {
            "fingerprint": content.hexdigest(),
            "classes": names,
            "rows": {split: len(some) for split, some in splits.items()},
            "class_counts": names and {split: counts(values[split], names) for split in splits},
            "pairs": "pair" in sides,
            **({"negatives": True} if "negative" in sides else {}),
            "blank_dropped": blank,
            "duplicates_removed": removed["duplicates"],
            "shared_train_test": both,
            **({} if labels else {"ratio_dropped": removed["disproportionate"]}),
            **(counted or {}),
        }
        (folder / "facts.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
        if dropped := removed["disproportionate"]:
            log.info("dropped %d training pairs beyond data.max_ratio=%s", dropped, cut["max_ratio"])
        if both:
            log.warning("%d test texts also stand in the training split word for word", both)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all splits, texts and labels."""
        return self.facts["fingerprint"]

    @property
    def sides(self) -> tuple[str, ...]:
        return ("text", "pair", "negative")[: 1 + self.facts["pairs"] + self.facts.get("negatives", False)]

    def labels(self, split: str) -> np.ndarray | None:
        """The class or the score of each row; None in raw text, and of pairs source -> target."""
        file = self.folder / f"{split}.label.npy"
        return np.load(file, allow_pickle=False) if file.exists() else None

    def answers(self, split: str) -> list[list[tuple[int, str]]]:
        """Of each question, where in its context each answer begins, and its words."""
        if not (self.folder / f"{split}.answers.npy").exists():
            return []
        told = Ragged.load(self.folder, f"{split}.answers")
        return [[(begin, words) for begin, words in json.loads(told.text(row))] for row in range(len(told))]

    def continues(self, split: str) -> np.ndarray:
        """Whether each text goes on with the one before it."""
        file = self.folder / f"{split}.continues.npy"
        return np.load(file, allow_pickle=False) if file.exists() else np.zeros(self.facts["rows"][split], bool)

    def texts(self, split: str, side: str = "text") -> Ragged:
        return Ragged.load(self.folder, f"{split}.{side}")

    def read(self, split: str, clean: Callable[[str], str], sides: Sequence[str] | None = None) -> Iterator[str]:
        """All cleaned texts of a split, first and second ones, or those of some sides."""
        for side in self.sides if sides is None else sides:
            texts = self.texts(split, side)
            yield from (clean(texts.text(row)) for row in range(len(texts)))


def write_tokens(
    folder: Path, stored: StoredRows, tokenizers: Mapping[str, Tokenizer], clean: Callable[[str], str]
) -> None:
    """Tokenize all splits, each side by its tokenizer: whole texts, so that one entry serves every max_length and way
    to truncate."""
    sides = [(split, side, stored.texts(split, side)) for split in stored.splits for side in stored.sides]
    sizes: dict[str, Counter[str]] = {split: Counter(bytes=0, words=0) for split in stored.splits}
    total = sum(len(texts.values) for _, _, texts in sides)
    with tqdm(total=total, desc="tokenize", unit="B", unit_scale=True, disable=None, leave=False) as progress:
        for split, side, texts in sides:
            tokenizer = tokenizers[side]
            with RaggedWriter(folder, f"{split}.{side}", token_type(tokenizer)) as writer:
                for block in blocks(clean(texts.text(row)) for row in range(len(texts))):
                    rows = tokenizer.encode(block)
                    lengths = list(map(len, rows))
                    writer.add(np.fromiter(chain.from_iterable(rows), writer.dtype, sum(lengths)), lengths)
                    n_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in block)
                    sizes[split].update(bytes=n_bytes, words=sum(len(text.split()) for text in block))
                    progress.update(n_bytes)
    (folder / "sizes.json").write_text(json.dumps(sizes), encoding="utf-8")


def blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in groups that keep all cores busy and are small beside the memory."""
    block: list[str] = []
    size = 0
    for text in texts:
        block.append(text)
        size += len(text)
        if len(block) == BLOCK or size >= CHARACTERS:
            yield block
            block, size = [], 0
    if block:
        yield block


def tokenized(texts: Iterable[str], tokenizer: Tokenizer) -> Ragged:
    """The ids of a few texts."""
    return Ragged.from_tokens(map(tokenizer.encode, blocks(texts)), token_type(tokenizer))


def token_type(tokenizer: Tokenizer) -> type[np.unsignedinteger]:
    return np.uint16 if len(tokenizer) <= 2**16 else np.uint32

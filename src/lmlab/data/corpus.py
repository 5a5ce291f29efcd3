"""One corpus: where its rows come from and how they become batches."""

import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tokenizers

from lmlab.data import cache as caching
from lmlab.data.blocks import Blocks
from lmlab.data.dataset import Batch, TokenizedRows
from lmlab.data.loading import Rows
from lmlab.data.ragged import Ragged
from lmlab.data.reading import Reading
from lmlab.data.sides import SideRows
from lmlab.data.store import StoredRows, tokenized, write_tokens
from lmlab.data.targets import TargetRows
from lmlab.errors import ConfigError, DataError
from lmlab.ranges import PositiveInt
from lmlab.tokenizer import Tokenizer

__all__ = ["Batch", "Corpus"]

log = logging.getLogger(__name__)


class Corpus(Reading):
    """Texts, labelled or raw, read once into the cache and batched from there; a subclass says where they come from."""

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        cache: str | Path,
        batches: Literal["rows", "blocks", "copies", "sides"] = "rows",
        truncation: Literal["head", "head_tail", "tail"] = "head",
        stride: PositiveInt | None = None,
        separate_documents: bool = False,
        **parts: Any,
    ) -> None:
        super().__init__(**parts)
        if self.max_length < 4:
            raise ConfigError(f"data.max_length: at least 4 expected ([CLS] a [SEP] b), got {self.max_length}")
        self.tokenizer, self.cache = tokenizer, Path(cache).expanduser()
        self.batches, self.truncation = batches, truncation
        self.stride, self.separate_documents = stride, separate_documents
        self._stored: StoredRows | None = None

    # from rows to arrays in the cache

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes in order of their numbers; None before `prepare` if none were configured."""
        return self._stored.facts["classes"] if self._stored else self.configured_classes

    @property
    def class_weights(self) -> list[float]:
        """What makes all classes weigh alike in training: rows / (classes * rows of the class), 1 on average."""
        found = list(self.stored.facts["class_counts"]["train"].values())
        return [round(sum(found) / (len(found) * max(count, 1)), 6) for count in found]

    @property
    def scored(self) -> tuple[str, ...]:
        """The splits that stage=test scores: the test split, or the validation split of a corpus without one."""
        return ("val",) if self.stored.facts["rows"].get("test") == 0 else ("test",)

    @property
    def stored(self) -> StoredRows:
        """The rows in the cache."""
        if self._stored is None:
            raise RuntimeError("Corpus.prepare() comes first")
        return self._stored

    def prepare(self) -> None:
        """Read, split and tokenize into the cache, and train the tokenizer, as far as the cache has not got it yet."""
        self._stored = StoredRows(caching.entry(self.cache, "rows", self._rows_key(), self._write_rows))
        key: dict[str, Any] = {"rows": self.stored.fingerprint, "cleaning": self.clean.recipe}
        for tokenizer, sides in self.vocabularies().items():
            self._make_ready(tokenizer, sides, key)
        key["tokenizer"] = self.tokenizers_fingerprint
        folder = caching.entry(self.cache, "tokens", key, self._write_tokens)
        self.datasets = {split: self._open(split, folder) for split in self.stored.splits}

    def setup(self, stage: str | None = None) -> None:
        """Open the arrays on every rank; rank 0 made them, or each rank makes them in turn under the cache's lock."""
        if self._stored is None:
            self.prepare()
        if stage == "fit":
            self._order = self._train_order()  # anew: the number of processes is known only now

    def vocabularies(self) -> dict[Tokenizer, tuple[str, ...]]:
        """Each tokenizer, and the sides of the rows that it is for."""
        return {self.tokenizer: self.stored.sides}

    @property
    def target_tokenizer(self) -> Tokenizer:
        """The tokenizer of what is answered with a text."""
        return self.tokenizer

    @property
    def tokenizers_fingerprint(self) -> str | list[str]:
        found = [tokenizer.fingerprint for tokenizer in self.vocabularies()]
        return found[0] if len(found) == 1 else found

    def save_tokenizers(self, path: Path) -> None:
        """Write the tokenizer.json of a run."""
        self.tokenizer.save(path)

    def _make_ready(self, tokenizer: Tokenizer, sides: tuple[str, ...], key: Mapping[str, Any]) -> None:
        if not tokenizer.trained:
            recipe = {**key, **tokenizer.recipe, "version": tokenizers.__version__}
            recipe |= {} if sides == self.stored.sides else {"sides": sides}
            build = partial(self._train_tokenizer, tokenizer, sides)
            tokenizer.load(caching.entry(self.cache, "tokenizers", recipe, build) / "tokenizer.json")
        if len(tokenizer) > tokenizer.vocab_size:
            raise ConfigError(
                f"the tokenizer has {len(tokenizer)} entries, the model {tokenizer.vocab_size} rows for them",
                "tokenizer.vocab_size",
                f"Set tokenizer.vocab_size={len(tokenizer)} or more",
            )

    def _train_tokenizer(self, tokenizer: Tokenizer, sides: tuple[str, ...], folder: Path) -> None:
        if "train" not in self.stored.splits:
            raise DataError("there are no training rows to train a tokenizer on", fix="Give tokenizer.path=")
        log.info("training the tokenizer (%s, %d)", tokenizer.kind, tokenizer.vocab_size)
        tokenizer.train(self.stored.read("train", self.clean, sides))
        tokenizer.save(folder / "tokenizer.json")

    def _write_tokens(self, folder: Path) -> None:
        by_side = {side: tokenizer for tokenizer, sides in self.vocabularies().items() for side in sides}
        write_tokens(folder, self.stored, by_side, self.clean)

    def _open(self, split: str, folder: Path) -> Rows:
        sides = [Ragged.load(folder, f"{split}.{side}") for side in self.stored.sides]
        if self.batches == "blocks":
            size = json.loads((folder / "sizes.json").read_text(encoding="utf-8"))[split]
            stride = None if split == "train" else self.stride
            return Blocks(
                sides[0],
                self.stored.continues(split),
                max_length=self.max_length,
                stride=stride,
                separate_documents=self.separate_documents,
                size=size,
                pad=self.tokenizer.pad_id,
                separator=self.tokenizer.sep_id,
            )
        if self.batches == "copies":  # each text is to be told again
            tokenizer = self.tokenizer
            framed: dict[str, Any] = {"frame": tokenizer.frame, "separator": tokenizer.sep_id, "pad": tokenizer.pad_id}
            return TargetRows(sides[0], sides[0], max_length=self.max_length, **framed)
        labels = self.stored.labels(split)
        return self._rows_of(sides, labels)

    def _rows_of(self, sides: Sequence[Ragged], labels: np.ndarray | None = None) -> TokenizedRows | SideRows:
        if self.batches == "sides" and len(sides) > 1:
            return SideRows(sides, [self._tokenized_rows([side]) for side in sides], labels)
        return self._tokenized_rows(sides, labels)

    def _tokenized_rows(self, sides: Sequence[Ragged], labels: np.ndarray | None = None) -> TokenizedRows:
        return TokenizedRows(
            sides,
            labels,
            max_length=self.max_length,
            truncation=self.truncation,
            pad=self.tokenizer.pad_id,
            frame=self.tokenizer.frame,
        )

    # what others ask of it

    def summary(self) -> dict[str, Any]:
        """What the manifest of a run records of its data, in plain types."""
        sets = self.datasets.items()
        return {
            "corpus": type(self).__name__,
            "source": self.source,
            "path": str(self.path.absolute()) if self.path else None,
            "hub": [self.hub, self.revision] if self.source == "hub" else None,
            **self.stored.facts,
            "split_seed": self.cut["seed"],
            "tokens": {split: rows.n_tokens for split, rows in sets},
            "truncated": {split: round(rows.truncated_share, 4) for split, rows in sets},
        }

    def text(self, split: str, row: int) -> str:
        """The original text of a row; of a pair, both with a line between."""
        return "\n".join(self.stored.texts(split, side).text(row) for side in self.stored.sides)

    def batch(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Batch:
        """A batch of texts that are in no split, made as those of the splits are."""
        if (pairs is None) != (self.columns.pair is None):
            raise DataError("this model takes pairs of texts" if pairs is None else "this model takes single texts")
        return self._batch([texts] if pairs is None else [texts, pairs])

    def lone(self, texts: Sequence[str]) -> Batch:
        """A batch of texts in no split, each by itself where the splits have pairs."""
        return self._batch([texts])

    def _batch(self, given: Sequence[Sequence[str]]) -> Batch:
        sides = [tokenized(map(self.clean, side), self.tokenizer) for side in given]
        return self._rows_of(sides)[list(range(len(given[0])))]

    def documents(self, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """(token ids, where each document begins and the last one ends, the class of each if they are labelled)."""
        texts: Ragged = self._rows(split).text
        begins = texts.offsets[:-1][~self.stored.continues(split)]
        return texts.values, np.append(begins, texts.offsets[-1]), self.stored.labels(split)

    def _identity(self) -> dict[str, Any]:
        """What decides which rows a batch holds and what they look like, by the names that `allow_change` takes."""
        return {
            "seed": self.seed,
            "data.batch_tokens": self.batch_tokens,
            "data.fingerprint": self.stored.fingerprint,
            "tokenizer.fingerprint": self.tokenizers_fingerprint,
        }

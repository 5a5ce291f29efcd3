"""One corpus: where its rows come from and how they become batches."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import tokenizers

from lmlab.data import cache as caching
from lmlab.data import raw_text, sources
from lmlab.data.blocks import Blocks
from lmlab.data.cleaning import Cleaning
from lmlab.data.columns import Columns
from lmlab.data.dataset import Batch, TokenizedRows
from lmlab.data.loading import Loading, Rows
from lmlab.data.ragged import Ragged
from lmlab.data.raw_text import Texts
from lmlab.data.rows import Splits
from lmlab.data.store import StoredRows, tokenized, write_tokens
from lmlab.errors import ConfigError, DataError, InputMissing
from lmlab.ranges import Fraction, NonNegativeInt, PositiveInt, Probability, Seed
from lmlab.tokenizer import Tokenizer

__all__ = ["Batch", "Corpus"]

log = logging.getLogger(__name__)


class Corpus(Loading):
    """Texts, labelled or raw, read once into the cache and batched from there; a subclass says where they come from."""

    packages: ClassVar[tuple[sources.Package, ...]] = ()  # what `read_package` reads
    official_classes: ClassVar[dict[str, str] | None] = None  # what hub and official folders call them: our names
    official_splits: ClassVar[dict[str, str]] = {}  # our names: what the official files call them, where told apart

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        cache: str | Path,
        source: Literal["package", "hub", "files"] = "package",
        path: str | Path | None = None,
        path_split: Literal["train", "val", "test"] | None = None,
        hub: str | None = None,
        revision: str | None = None,
        encoding: str = "utf-8",
        text_column: str = "text",
        label_column: str | None = "label",
        pair_column: str | None = None,
        labels: Literal["classes", "scores"] = "classes",
        classes: Sequence[str] | None = None,
        max_blank: Probability = 0.1,
        unique: bool = False,
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.1,
        train_rows: PositiveInt | None = None,
        block: PositiveInt = 1,
        split_seed: NonNegativeInt = 0,
        cleaning: Mapping[str, Callable[[str], str] | None] | None = None,
        batches: Literal["rows", "blocks"] = "rows",
        max_length: PositiveInt = 256,
        truncation: Literal["head", "head_tail", "tail"] = "head",
        stride: PositiveInt | None = None,
        lanes: bool = False,
        separate_documents: bool = False,
        batch_tokens: PositiveInt = 16384,
        eval_batch_tokens: PositiveInt = 32768,
        min_rows: PositiveInt = 8,
        pool: PositiveInt = 32,
        n_workers: NonNegativeInt = 0,
        seed: Seed = 1,
    ) -> None:
        super().__init__(
            max_length=max_length,
            lanes=lanes,
            batch_tokens=batch_tokens,
            eval_batch_tokens=eval_batch_tokens,
            min_rows=min_rows,
            pool=pool,
            n_workers=n_workers,
            seed=seed,
        )
        if max_length < 4:
            raise ConfigError(f"data.max_length: at least 4 expected ([CLS] a [SEP] b), got {max_length}")
        self.tokenizer, self.cache = tokenizer, Path(cache).expanduser()
        self.source = "files" if path else source
        self.path = Path(path).expanduser() if path else None
        self.path_split, self.hub, self.revision = path_split, hub, revision
        self.encoding, self.columns = encoding, Columns(text_column, label_column, pair_column)
        self.labels: Literal["classes", "scores"] | None = labels  # None: rows have none
        self.configured_classes = None if classes is None else [str(name) for name in classes]
        self.max_blank, self.clean = max_blank, Cleaning(cleaning or {})
        self.cut: dict[str, Any] = {"unique": unique, "train_rows": train_rows}
        self.cut |= {"val_share": val_share, "test_share": test_share, "block": block, "seed": split_seed}
        self.batches, self.truncation = batches, truncation
        self.stride, self.separate_documents = stride, separate_documents
        self.counted: dict[str, int] = {}  # what a source left out and the manifest is to tell
        self._stored: StoredRows | None = None

    # where rows come from: what a subclass may override

    @property
    def raw(self) -> bool:
        """Whether rows are stretches of text without labels."""
        return self.columns.label is None

    @property
    def read_columns(self) -> Columns:
        """The columns that rows are read from."""
        return self.columns

    def read_package(self) -> Splits | Texts:
        """The rows that an installed package ships."""
        raise ConfigError(f"{type(self).__name__} has no package source", "data.source", "Use hub, or give data.path=")

    def read_hub(self) -> Splits | Texts:
        """The rows of a data set of the Hugging Face hub."""
        if not self.hub:
            raise ConfigError(f"{type(self).__name__} names no data set", "data.source=hub", "Give data.hub=<name>")
        if self.raw:
            return raw_text.hub(self.hub, self.revision, self.columns.text)
        return sources.hub(self.hub, self.revision, self.read_columns, self.official_classes)

    def read_files(self) -> Splits | Texts:
        """The rows at data.path=."""
        if self.path is None:
            raise InputMissing("no files given", "data.source=files", "Give data.path=<file or folder>")
        if self.raw:
            return raw_text.files(self.path, self.columns.text, self.encoding, self.path_split)
        names, split = self.official_classes, self.path_split
        return sources.files(self.path, self.read_columns, self.encoding, names=names, split=split)

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

    def _rows_key(self) -> dict[str, Any]:
        """Tells rows apart without reading them."""
        origin = {"package": self._package_stamp, "hub": lambda: [self.hub, self.revision], "files": self._path_stamp}
        columns = self.read_columns
        return {
            "corpus": type(self).__qualname__,
            "source": [self.source, origin[self.source]()],
            "columns": [columns.text, columns.label, columns.pair, self.labels == "scores"],
            "reading": [self.encoding, self.path_split, self.max_blank, self.configured_classes],
            "cut": self.cut,
        }

    def _package_stamp(self) -> list[str]:
        return [f"{package.sha256} {sources.stamp(package.path())}" for package in self.packages]

    def _path_stamp(self) -> str:
        return sources.stamp(self.path) if self.path and self.path.exists() else ""

    def _write_rows(self, folder: Path) -> None:
        read = {"package": self.read_package, "hub": self.read_hub, "files": self.read_files}[self.source]
        log.info("reading %s (%s)", type(self).__name__, self.path or self.source)
        found: Any = read()
        if self.raw:
            shares = {name: self.cut[name] for name in ("val_share", "test_share")}
            raw_text.write(folder, found, str(self.path or self.source), **shares)
        else:
            StoredRows.write(
                folder,
                found,
                self.configured_classes,
                labels=self.labels,
                pairs=self.read_columns.pair is not None,
                max_blank=self.max_blank,
                cut=self.cut,
                counted=self.counted,
            )

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
        labels = self.stored.labels(split)
        return self._rows_of(sides, labels)

    def _rows_of(self, sides: Sequence[Ragged], labels: np.ndarray | None = None) -> TokenizedRows:
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
        given = [texts] if pairs is None else [texts, pairs]
        sides = [tokenized(map(self.clean, side), self.tokenizer) for side in given]
        return self._rows_of(sides)[list(range(len(texts)))]

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

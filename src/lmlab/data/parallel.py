"""Pairs of a text and what it is to become: a translation, a summary."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from lmlab.data import aligned, sources, tables
from lmlab.data.columns import Columns
from lmlab.data.corpus import Corpus
from lmlab.data.dataset import TokenizedRows
from lmlab.data.ragged import Ragged
from lmlab.data.rows import Splits
from lmlab.data.targets import TargetRows
from lmlab.errors import ConfigError, InputMissing
from lmlab.ranges import PositiveFloat
from lmlab.tokenizer import PRETRAINED, Tokenizer


class Parallel(Corpus):
    """Sources and their targets, of the hub, a table or line-aligned files; a subclass says where else they come from.

    `max_ratio` drops training pairs of unlike lengths. With architecture `decoder` one network reads source and target
    as one text, which `max_length` bounds; else it bounds each of them. A task that but encodes is refused elsewhere.
    With `separate_vocabularies` a second tokenizer of the same kind is trained, on the targets alone.
    """

    split_files: ClassVar[Mapping[str, str]] = sources.SPLIT_NAMES  # what the files of a split are called: our names
    raw = False

    def __init__(
        self,
        *,
        target_column: str = "target",
        target_path: str | Path | None = None,
        source_language: str | None = None,
        target_language: str | None = None,
        max_ratio: PositiveFloat | None = None,
        architecture: Literal["encoder-decoder", "decoder", "encoder"] = "encoder-decoder",
        separate_vocabularies: bool = False,
        **parts: Any,
    ) -> None:
        super().__init__(**(parts | {"label_column": None, "pair_column": None}))
        if source_language is not None and source_language == target_language:
            raise ConfigError(f"source and target are both '{source_language}'", "data.target_language", "Choose two")
        self.target_column, self.labels = target_column, None
        self.target_path = Path(target_path).expanduser() if target_path else None
        self.languages = (source_language, target_language)
        self.cut["max_ratio"] = max_ratio
        self.joint = architecture == "decoder"
        self._target_tokenizer = second(self.tokenizer) if separate_vocabularies else self.tokenizer
        self.answer_tokens = max_length_of_answers(self.max_length)

    @property
    def read_columns(self) -> Columns:
        return replace(self.columns, pair=self.target_column)

    def read_files(self) -> Splits:
        if self.path is not None and self.target_path is not None:
            split = self.path_split or self.split_files.get(self.path.name.partition(".")[0].lower(), "train")
            return {split: aligned.rows(self.path, self.target_path, self.encoding)}
        if self.path is not None and self.path.is_dir():
            return self.read_folder(self.path)
        if self.path is not None and self.path.is_file() and not is_table(self.path):
            raise InputMissing("the file of the targets is missing", str(self.path), "Give it with data.target_path=")
        found: Any = super().read_files()
        return found

    def read_folder(self, folder: Path) -> Splits:
        """The splits as pairs of files, else as tables."""
        source, target = self.languages
        if source and target and (found := aligned.splits(folder, (source, target), self.split_files, self.encoding)):
            return found
        parts = sources.split_parts(folder)
        if not any(part.is_file() for part in parts.values()):
            files = f"files for the splits (train.{source or 'de'} and train.{target or 'en'}, or train.csv)"
            listed = ", ".join(sorted(part.name for part in folder.iterdir())[:8]) or "nothing"
            fix = f"Found there: {listed}. Name the endings with data.source_language= and data.target_language="
            raise InputMissing(f"no {files}", str(folder), fix)
        return {
            split: sources.table(part, self.read_columns, self.encoding)
            for split, part in parts.items()
            if part.is_file()
        }

    @property
    def target_tokenizer(self) -> Tokenizer:
        return self._target_tokenizer

    def vocabularies(self) -> dict[Tokenizer, tuple[str, ...]]:
        if self.target_tokenizer is self.tokenizer:
            return super().vocabularies()
        return {self.tokenizer: ("text",), self.target_tokenizer: ("pair",)}

    def save_tokenizers(self, path: Path) -> None:
        super().save_tokenizers(path)
        if self.target_tokenizer is not self.tokenizer:
            self.target_tokenizer.save(beside(path))

    def _rows_key(self) -> dict[str, Any]:
        target = sources.stamp(self.target_path) if self.target_path and self.target_path.exists() else None
        return super()._rows_key() | {"languages": self.languages, "target_path": target}

    def _open(self, split: str, folder: Path) -> TargetRows:
        texts, targets = (Ragged.load(folder, f"{split}.{side}") for side in self.stored.sides)
        if "train" in self.stored.splits:
            longest = int(Ragged.load(folder, "train.pair").lengths.max(initial=0)) + 1
            self.answer_tokens = min(longest, max_length_of_answers(self.max_length))
        return TargetRows(
            texts,
            targets,
            max_length=self.max_length,
            truncation=self.truncation,
            joint=self.joint,
            answer_tokens=0 if split == "train" else self.answer_tokens,
            texts=None if split == "train" else (self.stored.texts(split), self.stored.texts(split, "pair")),
            pad=self.tokenizer.pad_id,
            separator=self.target_tokenizer.sep_id,
            frame=self.tokenizer.frame,
        )

    def _rows_of(self, sides: Sequence[Ragged], labels: np.ndarray | None = None) -> TokenizedRows:
        """Sources without targets, cut as those of the splits that answers are scored on."""
        return TokenizedRows(
            sides,
            max_length=self.max_length - self.answer_tokens * self.joint,
            truncation=self.truncation,
            pad=self.tokenizer.pad_id,
            frame=self.tokenizer.frame,
        )

    def summary(self) -> dict[str, Any]:
        told = super().summary() | {"languages": list(self.languages)}
        for side in ("source", "target"):
            shares = {split: rows.truncated_sides[side] for split, rows in self.datasets.items()}
            told[f"truncated_{side}s"] = {split: round(share, 4) for split, share in shares.items()}
        return told


def second(tokenizer: Tokenizer) -> Tokenizer:
    """Another one of its kind, not trained yet, or that of the targets which lies beside it in a run."""
    if tokenizer.kind == PRETRAINED:
        fix = "Set data.separate_vocabularies=false, or choose a tokenizer that is trained"
        raise ConfigError("a pretrained tokenizer has one vocabulary for both sides", "tokenizer", fix)
    path = beside(tokenizer.path) if tokenizer.path else None
    if path and not path.is_file():
        fix = "Give a run's, or leave out tokenizer.path="
        raise InputMissing("there is no tokenizer of the targets beside that of the sources", str(path), fix)
    return Tokenizer(**tokenizer.recipe, path=path)


def beside(path: Path) -> Path:
    """Where the tokenizer of the targets lies."""
    return path.with_name(f"target_{path.name}")


def is_table(path: Path) -> bool:
    """Whether a file has columns, told by its name's ending."""
    ending = tables.unzipped(path).suffix.lower()
    return ending in tables.ENDINGS and ending != ".txt"


def max_length_of_answers(max_length: int) -> int:
    """The tokens that a target has at most, [SEP] among them, where it shares `max_length` with its source."""
    return max_length // 2

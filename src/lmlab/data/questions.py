"""Questions whose answers stand in a context: SQuAD (Rajpurkar et al., 2016 and 2018) and whatever is written as it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lmlab.data import sources, squad_json, tables
from lmlab.data.corpus import Corpus
from lmlab.data.dataset import Batch
from lmlab.data.ragged import Ragged, RaggedWriter
from lmlab.data.rows import Splits
from lmlab.data.spans import QuestionWindows, trimmed
from lmlab.data.splits import NAMES, stratified_blocks
from lmlab.data.squad_json import Article
from lmlab.data.store import blocks, tokenized
from lmlab.errors import ConfigError, DataError, InputMissing
from lmlab.ranges import PositiveInt
from lmlab.tokenizer import Tokenizer


class Questions(Corpus):
    """A question is a row's text, its context the pair; answers are found by their characters. Splits that the source
    lacks are cut from the training articles, never through one. With `no_answer` a question may have none.

    `language` says how answers are compared: English ones word by word, Chinese ones character by character.
    """

    raw = False

    def __init__(
        self,
        *,
        text_column: str = "question",
        pair_column: str = "context",
        max_question: PositiveInt = 64,
        no_answer: bool = False,
        language: Literal["en", "zh"] = "en",
        **parts: Any,
    ) -> None:
        columns = {"text_column": text_column, "pair_column": pair_column, "label_column": None}
        super().__init__(**(parts | columns))
        if self.clean.steps:
            what = "answers are characters of a context as it stands, and cleaning would move them"
            raise ConfigError(what, "data.cleaning", "Leave it out; tokenizer.lowercase=true reads without case")
        if self.max_length < 8:
            raise ConfigError(
                f"data.max_length: at least 8 expected for a question and a context, got {self.max_length}"
            )
        self.max_question, self.no_answer, self.language, self.labels = max_question, no_answer, language, None

    @property
    def scored(self) -> tuple[str, ...]:
        """The test split, or that for validation where there is no other: the official test sets are secret."""
        return ("test",) if self.stored.facts["rows"].get("test") else ("val",)

    def read_hub(self) -> Splits:
        name, columns = str(self.hub), (self.columns.text, str(self.columns.pair))
        splits: dict[str, list[Article]] = {}
        for split, records in sources.loaded(name, self.revision).items():
            rows: dict[str, Article] = {}
            for number, record in enumerate(records):
                row = squad_json.of_hub(record, columns, f"{name} {split} row {number}", self.no_answer)
                title = self.title_of(record)
                rows.setdefault(title, Article(title, [])).rows.append(row)
            if known := sources.SPLIT_NAMES.get(split):
                splits[known] = [*rows.values()]
        return self.cut_by_article(splits)

    def title_of(self, record: dict[str, Any]) -> str:
        """What tells the articles of the hub's records apart."""
        return str(record.get("title", record[str(self.columns.pair)]))

    def read_files(self) -> Splits:
        if self.path is None:
            raise InputMissing("no files given", "data.source=files", "Give data.path=<file.json or folder>")
        if not self.path.exists():
            raise InputMissing("data.path= not found", str(self.path.absolute()), "Check the path")
        files = self.files_below(self.path) if self.path.is_dir() else {split_of(self.path) or "train": self.path}
        if self.path.is_file() and self.path_split:
            files = {self.path_split: self.path}
        return self.cut_by_article(
            {split: squad_json.articles(file, self.encoding, self.no_answer) for split, file in files.items()}
        )

    def files_below(self, folder: Path) -> dict[str, Path]:
        """The file of each split in a folder: train-v1.1.json, dev-v1.1.json, or train.json, val.json and test.json."""
        files: dict[str, Path] = {}
        for file in sorted(folder.iterdir()):
            split = split_of(file) if tables.unzipped(file).suffix == ".json" else None
            if split in files:
                raise DataError(
                    f"both {files[split].name} and {file.name} are the {split} split", str(folder), "Keep one"
                )
            if split:
                files[split] = file
        if not files:
            listed = ", ".join(sorted(part.name for part in folder.iterdir())[:8]) or "nothing"
            raise InputMissing("no train.json or dev.json", str(folder), f"Found there: {listed}")
        return files

    def cut_by_article(self, splits: dict[str, list[Article]]) -> Splits:
        """All three splits where there are articles to train on: those that are missing are made of these."""
        if (train := splits.get("train")) is not None:
            shares = {name: self.cut[f"{name}_share"] for name in ("val", "test") if name not in splits}
            if len(train) <= sum(share > 0 for share in shares.values()):
                where = str(self.path or self.source)
                fix = "Give more articles, or a file for each split: train.json, dev.json"
                raise DataError(f"{len(train)} articles are too few to cut {', '.join(shares)} from", where, fix)
            parts = stratified_blocks(np.zeros(len(train), int), shares, block=1, seed=self.cut["seed"])
            splits = splits | {name: [train[number] for number in part] for name, part in parts.items()}
        return {name: [row for article in splits[name] for row in article.rows] for name in NAMES if name in splits}

    def _rows_key(self) -> dict[str, Any]:
        return super()._rows_key() | {"no_answer": self.no_answer, "language": self.language}

    def _write_tokens(self, folder: Path) -> None:
        super()._write_tokens(folder)
        for split in self.stored.splits:
            contexts = self.stored.texts(split, "pair")
            with RaggedWriter(folder, f"{split}.spans", np.uint32) as writer:
                for block in blocks(contexts.text(row) for row in range(len(contexts))):
                    for spans in located(block, self.tokenizer):
                        writer.add(spans.ravel(), [spans.size])

    def _open(self, split: str, folder: Path) -> QuestionWindows:
        questions, contexts = (Ragged.load(folder, f"{split}.{side}") for side in ("text", "pair"))
        spans = Ragged.load(folder, f"{split}.spans").values.reshape(-1, 2)
        texts = None if split == "train" else self.stored.texts(split, "pair")
        return self.windows(questions, contexts, spans, self.stored.answers(split), texts)

    def windows(
        self,
        questions: Ragged,
        contexts: Ragged,
        spans: np.ndarray,
        answers: Sequence[Sequence[tuple[int, str]]],
        texts: Ragged | None,
    ) -> QuestionWindows:
        return QuestionWindows(
            questions,
            contexts,
            spans,
            answers,
            max_length=self.max_length,
            max_question=self.max_question,
            stride=self.stride or self.max_length,
            texts=texts,
            pad=self.tokenizer.pad_id,
            frame=self.tokenizer.frame,
        )

    def asked(self, questions: Sequence[str], contexts: Sequence[str]) -> QuestionWindows:
        """The windows of questions that are in no split."""
        spans = [np.empty((0, 2), np.int64), *located(contexts, self.tokenizer)]
        asked, read = (tokenized(side, self.tokenizer) for side in (questions, contexts))
        return self.windows(asked, read, np.concatenate(spans), [], Ragged.from_texts(contexts))

    def batch(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Batch:
        """All windows of some questions."""
        if pairs is None:
            raise DataError("this model takes questions with their contexts")
        rows = self.asked(texts, pairs)
        return rows[list(range(len(rows)))]

    def summary(self) -> dict[str, Any]:
        windows = {split: len(rows) for split, rows in self.datasets.items()}
        unanswered = {split: sum(not some for some in self.stored.answers(split)) for split in self.stored.splits}
        return super().summary() | {"language": self.language, "windows": windows, "without_answer": unanswered}


def located(texts: Sequence[str], tokenizer: Tokenizer) -> list[np.ndarray]:
    """Of each text, the characters (T, 2) where each of its tokens begins and ends."""
    return [trimmed(offsets, text) for offsets, text in zip(tokenizer.offsets(list(texts)), texts, strict=True)]


def split_of(file: Path) -> str | None:
    """The split that a file is named after: dev-v1.1.json holds the questions for validation."""
    return sources.SPLIT_NAMES.get(re.split(r"[-_.]", file.name.lower())[0])

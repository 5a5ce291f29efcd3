"""GLUE: nine questions on sentences and pairs of them (Wang et al., 2019), from their official files or the hub."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

from lmlab.data import sources, tables
from lmlab.data.columns import Columns
from lmlab.data.corpus import Corpus
from lmlab.data.rows import Row, Splits
from lmlab.errors import DataError, InputMissing

log = logging.getLogger(__name__)


class Glue(Corpus):
    """One of the nine. The official dev set chooses the best checkpoint and is what is scored; the official test set,
    whose labels are secret, is for the leaderboard alone."""

    folder: ClassVar[str]  # of the official files: data.path= itself, or below it
    official_splits = {"train": "train", "val": "dev"}
    test_files: ClassVar[dict[str, str]]  # what the leaderboard calls the answers to an official test set
    header: ClassVar[tuple[str, ...]] = ()  # of files that have none
    renamed: ClassVar[Mapping[str, str]] = {}  # columns of the official files: of the hub
    cut_lines: ClassVar[bool] = False  # whether some records are cut by a line's end in their text
    answers_by_name: ClassVar[bool] = False  # whether the leaderboard wants the names of classes, not their numbers

    def read_hub(self) -> Splits:
        named = {name.replace("dev", "validation"): split for split, name in self.official_splits.items()}
        return sources.hub(str(self.hub), self.revision, self.columns, split_names=named)

    def read_files(self) -> Splits:
        return {split: self.rows(self.file(name), self.columns) for split, name in self.official_splits.items()}

    def rows(self, file: Path, columns: Columns) -> list[Row]:
        rows = [columns.row(record, f"{file} line {number}") for number, record in self.records(file)]
        if not rows:
            raise DataError(f"{file.name} has 0 rows", str(file), "Give the official file")
        return rows

    def leaderboard(self) -> Iterator[tuple[str, list[Row]]]:
        """What the leaderboard asks, by the name of the file that it wants the answers in."""
        for name, official in self.test_files.items():
            if self.source == "hub":
                yield name, self.asked_by_hub(str(self.hub), official)
            else:
                yield name, self.rows(self.file(official), self.unlabelled)

    @property
    def unlabelled(self) -> Columns:
        return replace(self.columns, label=None)

    def asked_by_hub(self, hub: str, official: str) -> list[Row]:
        records: Any = sources.loaded(hub, self.revision)[official]
        return [self.unlabelled.row(record, official) for record in records]

    def entry(self, answer: Mapping[str, Any]) -> str:
        """An answer as the leaderboard wants it."""
        label = answer["label"]
        return label if self.answers_by_name else str((self.classes or []).index(label))

    def file(self, official: str) -> Path:
        if self.path is None:
            raise InputMissing("no files given", "data.source=files", "Give data.path=<folder>")
        below = self.path / self.folder
        file = (below if below.is_dir() else self.path) / f"{official}.tsv"
        if not file.is_file():
            told = f"data.path= is the official folder {self.folder}, or the one that holds it"
            raise InputMissing(f"{self.folder} has no {file.name}", str(file), told)
        return file

    def records(self, file: Path) -> Iterator[tables.Record]:
        """The records of an official file by the hub's names of their columns: tabs between fields, and no quoting."""
        n_cut = 0
        with tables.opened(file) as source:
            lines = enumerate(tables.lines(source, str(file), self.encoding), 1)
            rows: Iterator[tuple[int, list[str]]]
            rows = ((number, line.rstrip("\r\n").split("\t")) for number, line in lines if line.strip())
            first = next(rows, (1, []))
            names = [self.renamed.get(name, name) for name in first[1]]
            if first[1] and self.header and self.columns.text not in names:  # it begins with its first record
                names, rows = [*self.header], chain([first], rows)
            for number, fields in rows:
                if len(fields) == len(names):
                    yield number, dict(zip(names, fields, strict=True))
                elif self.cut_lines and self.columns.label in names:
                    n_cut += 1
                else:
                    what = f"line {number}: {len(names)} columns expected ({', '.join(names)}), found {len(fields)}"
                    raise DataError(what, str(file), "Give the official file")
        if n_cut:
            log.warning("left out %d lines of %s that are parts of records", n_cut, file.name)


class CoLA(Glue):
    """Whether a sentence is grammatical (Warstadt et al., 2018)."""

    folder, test_files = "CoLA", {"CoLA": "test"}
    header = ("source", "label", "mark", "sentence")


class SST2(Glue):
    """Whether a phrase of a film review is good or bad (Socher et al., 2013)."""

    folder, test_files = "SST-2", {"SST-2": "test"}


class MRPC(Glue):
    """Whether two sentences of the news say the same (Dolan and Brockett, 2005)."""

    folder, test_files = "MRPC", {"MRPC": "test"}
    renamed = {"Quality": "label", "#1 String": "sentence1", "#2 String": "sentence2"}


class STSB(Glue):
    """How alike two sentences are, from 0 to 5 (Cer et al., 2017)."""

    folder, test_files = "STS-B", {"STS-B": "test"}
    renamed = {"score": "label"}

    def entry(self, answer: Mapping[str, Any]) -> str:
        return f"{min(max(answer['score'], 0.0), 5.0):.3f}"


class QQP(Glue):
    """Whether two questions ask the same (Quora, 2017)."""

    folder, test_files = "QQP", {"QQP": "test"}
    renamed = {"is_duplicate": "label"}
    cut_lines = True


class MNLI(Glue):
    """Whether a hypothesis follows from a premise, contradicts it or neither (Williams et al., 2018). Dev matched, of
    the genres that are trained on, chooses the checkpoint; dev mismatched, of others, is the test split."""

    folder, test_files = "MNLI", {"MNLI-m": "test_matched", "MNLI-mm": "test_mismatched"}
    official_splits = {"train": "train", "val": "dev_matched", "test": "dev_mismatched"}
    renamed = {"sentence1": "premise", "sentence2": "hypothesis", "gold_label": "label"}
    answers_by_name = True

    @property
    def scored(self) -> tuple[str, ...]:
        return "val", "test"

    def leaderboard(self) -> Iterator[tuple[str, list[Row]]]:
        """Also the diagnostic set, which the leaderboard wants answered by a model of MNLI."""
        yield from super().leaderboard()
        if self.source == "hub":
            yield "AX", self.asked_by_hub(f"{str(self.hub).partition(':')[0]}:ax", "test")
            return
        beside = self.file("train").parent.parent / "diagnostic" / "diagnostic.tsv"
        if beside.is_file():
            yield "AX", self.rows(beside, self.unlabelled)
        else:
            log.warning("no AX.tsv: there is no %s", beside)


class QNLI(Glue):
    """Whether a sentence holds the answer to a question (Rajpurkar et al., 2016, as pairs)."""

    folder, test_files = "QNLI", {"QNLI": "test"}
    answers_by_name = True


class RTE(Glue):
    """Whether a sentence follows from a text (Dagan et al., 2006, and three later years)."""

    folder, test_files = "RTE", {"RTE": "test"}
    answers_by_name = True


class WNLI(Glue):
    """Whether a sentence with its pronoun replaced follows from it (Levesque et al., 2011)."""

    folder, test_files = "WNLI", {"WNLI": "test"}

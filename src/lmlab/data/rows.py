"""A labelled text with the place it came from, and what must hold for all of a corpus's rows."""

import logging
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lmlab.errors import DataError

log = logging.getLogger(__name__)


class Row(NamedTuple):
    """One labelled text, or pair of texts, as a source hands it over."""

    text: str
    label: int | str | None
    place: str  # for messages: "train.csv line 7"
    pair: str | None = None
    negative: str | None = None  # a text that a query must not find, where the pair is a document that answers it
    answers: Sequence[tuple[int, str]] | None = None  # of a question to `pair`: where in it each begins, and its words

    @property
    def blank(self) -> bool:
        """Whether a text of it holds nothing."""
        return not all(side is None or side.strip() for side in (self.text, self.pair, self.negative))


Splits = dict[str, list[Row]]  # by "train", "val", "test"; a source has those that it has


def without_blanks(splits: Splits, most: float) -> tuple[Splits, int]:
    """The rows that hold text, and how many do not; more than the share `most` of these is an error."""
    kept = {split: [row for row in rows if not row.blank] for split, rows in splits.items()}
    blank = 0
    for split, rows in splits.items():
        lost = len(rows) - len(kept[split])
        if lost > most * len(rows):
            first = next(row for row in rows if row.blank)
            raise DataError(
                f"{lost} of {len(rows)} texts of the {split} split are blank, the first at {first.place}",
                f"data.max_blank={most}",
                "Mend the file, or raise data.max_blank to drop them",
            )
        blank += lost
    if blank:
        log.warning("dropped %d blank texts", blank)
    return kept, blank


def numbered(splits: Splits, classes: Sequence[str] | None) -> tuple[dict[str, np.ndarray], list[str]]:
    """The class number of each row, and the names of the classes: those given, else those of the training rows."""
    rows = labelled(splits)
    known = {name: number for number, name in enumerate(classes or ())}
    whole = not all(str(row.label) in known for row in rows) and _all_whole(rows)
    if classes is None:
        seen = sorted({_name(row, whole) for row in splits.get("train", rows)}, key=int if whole else str)
        known = {label: number for number, label in enumerate(seen)}
    elif whole:  # labels that are numbers of the classes
        known = {str(number): number for number in range(len(known))}
    numbers = {split: _numbers(of, split, known, classes, whole) for split, of in splits.items()}
    names = list(classes) if classes is not None else list(known)
    if "train" in numbers and len(present := np.unique(numbers["train"])) < 2:
        raise DataError(
            f"all {len(numbers['train'])} training rows have the label '{names[present[0]]}'",
            fix="A classifier needs rows of two classes at least",
        )
    return numbers, names


def measured(splits: Splits) -> dict[str, np.ndarray]:
    """The score of each row, for labels that are numbers on a scale."""
    for row in labelled(splits):
        if not _is_number(row.label):
            raise DataError(
                f"score '{row.label}' is no finite number", row.place, "Mend it, or use task=classification"
            )
    scores = {
        split: np.fromiter((float(row.label) for row in rows), np.float32, len(rows))  # type: ignore[arg-type]
        for split, rows in splits.items()
    }
    if "train" in scores and len(np.unique(scores["train"])) < 2:
        raise DataError(
            f"all {len(scores['train'])} training rows have the score {scores['train'][0]:g}",
            fix="A regression needs rows of two scores at least",
        )
    return scores


def _is_number(label: int | str | None) -> bool:
    try:
        return math.isfinite(float(str(label)))
    except ValueError:
        return False


def labelled(splits: Splits) -> list[Row]:
    """The rows of all splits, each of which has a label."""
    rows = [row for rows in splits.values() for row in rows]
    for row in rows:
        if row.label is None or row.label == "":
            raise DataError("the label is missing", row.place, "Give every row a label, or remove the row")
    return rows


def _all_whole(rows: list[Row]) -> bool:
    """Whether labels are whole numbers; on some lines numbers and on others text is an error."""
    first = rows[0]
    whole = _is_whole(first.label)
    for row in rows:
        if _is_whole(row.label) != whole:
            kinds = ("a whole number", "text") if whole else ("text", "a whole number")
            raise DataError(
                f"label '{row.label}' is {kinds[1]}, but '{first.label}' ({first.place}) is {kinds[0]}",
                row.place,
                "Write all labels as whole numbers or all as text",
            )
    return whole


def _is_whole(label: int | str | None) -> bool:
    return re.fullmatch(r"[+-]?\d+", str(label)) is not None


def _name(row: Row, whole: bool) -> str:
    return str(int(str(row.label))) if whole else str(row.label)


def _numbers(
    rows: list[Row], split: str, known: dict[str, int], classes: Sequence[str] | None, whole: bool
) -> np.ndarray:
    numbers = np.fromiter((known.get(_name(row, whole), -1) for row in rows), np.int64, len(rows))
    if len(unknown := np.flatnonzero(numbers < 0)):
        row = rows[unknown[0]]
        whose = "the training labels" if classes is None else "data.classes"
        raise DataError(
            f"label '{row.label}' of the {split} split is not among {whose}: {', '.join(classes or known)}",
            row.place,
            "Mend the label, or list all labels in data.classes",
        )
    return numbers

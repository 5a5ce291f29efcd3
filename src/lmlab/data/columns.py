"""The columns of a record that a corpus reads, and what may stand in them."""

from dataclasses import dataclass
from typing import Any

from lmlab.data.rows import Row
from lmlab.errors import DataError

NAMES = "Name the columns with data.text_column=, data.label_column= and data.pair_column="


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold the text, the label and, for pairs, the second text."""

    text: str = "text"
    label: str | None = "label"  # None: raw text
    pair: str | None = None
    negative: str | None = None  # of a text that the first one is not to find

    @property
    def sides(self) -> tuple[str, ...]:
        """The texts that a row has."""
        return ("text", *["pair"] * (self.pair is not None), *["negative"] * (self.negative is not None))

    def row(self, record: dict[str, Any], place: str) -> Row:
        return Row(
            words(record, self.text, place),
            None if self.label is None else _label(value(record, self.label, place), place),
            place,
            None if self.pair is None else words(record, self.pair, place),
            None if self.negative is None else words(record, self.negative, place),
        )


def value(record: dict[str, Any], column: str, place: str, fix: str = NAMES) -> Any:
    if column not in record:
        raise DataError(
            f"column '{column}' not found; the file has: {', '.join(map(str, record)) or 'no columns'}",
            place,
            fix,
        )
    return record[column]


def words(record: dict[str, Any], column: str, place: str, fix: str = NAMES) -> str:
    found = value(record, column, place, fix)
    if found is None:
        return ""
    if not isinstance(found, str):
        kind = type(found).__name__
        raise DataError(f"column '{column}': text expected, found {kind} {found!r:.40}", place, "Write it as text")
    try:
        found.encode()
    except UnicodeEncodeError as error:  # JSON can write one: "\\ud800"
        half = f"\\u{ord(found[error.start]):04x}"
        raise DataError(f"column '{column}': {half} is half a character", place, "Mend the escape") from error
    return found


def _label(found: Any, place: str) -> int | str | None:
    if isinstance(found, float) and found.is_integer():
        return int(found)  # a column of numbers with a gap in it is read as floats
    if found is None or found != found:
        return None
    if isinstance(found, list | dict):
        raise DataError(f"a label must be one value, found {type(found).__name__}", place, "Give one label a row")
    return found if isinstance(found, int) and not isinstance(found, bool) else str(found).strip()

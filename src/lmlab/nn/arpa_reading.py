"""Back-off models read from ARPA text, as SRILM, KenLM and lmlab itself write it; a broken file is told by its line."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float32, Int
from numpy import ndarray
from pyarrow import csv

from lmlab.errors import DataError
from lmlab.nn.arpa import NEVER, TEXT, arpa_words
from lmlab.nn.ngram_table import NgramTable
from lmlab.nn.smoothing import Estimates

SIZE = re.compile(rb"^ngram[ \t]+(\d+)[ \t]*=[ \t]*(\d+)[ \t\r]*$", re.MULTILINE)
MARK = re.compile(rb"\n\\(?:(\d+)-grams:|end\\)[ \t\r]*(?=\n|$)")


class Lines(NamedTuple):
    """The n-grams of one order, a row each, and where in the file they stand."""

    scores: ndarray  # (R,) log10
    ids: ndarray  # (R, n) -1 for a word that the vocabulary has not
    backoffs: ndarray  # (R,) log10, 0 where none is written
    source: "Section"


class Section(NamedTuple):
    """The text of one order's lines."""

    path: str
    data: bytes
    begin: int
    end: int
    promise: re.Match[bytes]  # the line at the top that says how many there are

    def refuse(self, row: int, what: str) -> NoReturn:
        """Raises DataError for the line that is `row` among those of the section."""
        lines = self.data[self.begin : self.end].split(b"\n")
        filled = [number for number, line in enumerate(lines) if line.strip()]
        wrong(self.path, self.data, self.begin, what, filled[row])


def wrong(path: str, data: bytes, place: int, what: str, further: int = 0) -> NoReturn:
    line = data.count(b"\n", 0, place) + 1 + further
    raise DataError(what, f"{path} line {line}", "Copy or write the file anew")


def read_arpa(
    path: str | Path,
    tokens: Sequence[str],
    *,
    begin: int,
    end: int,
    unknown: int,
    heard: Bool[ndarray, "V"] | None = None,
) -> NgramTable:
    """The model of an ARPA file over the vocabulary `tokens`.

    n-grams of other words are left out: a tokenizer writes them as the unknown token. Of the ids that the file does not
    name, those that are `heard` have the unknown token's probability, and the others are never predicted.
    """
    words = pa.array(arpa_words(tokens, begin, end, unknown), TEXT)
    orders: list[Estimates] = []
    for length, section in enumerate(sections(str(path)), 1):
        lines = checked(table(section, length, words) or ragged(section, length, words))
        rows = np.flatnonzero((lines.ids >= 0).all(1))
        if length == 1 and np.isin(lines.ids, [-1, begin, end, unknown]).all():
            raise DataError("none of its words is in the tokenizer's vocabulary", str(path), "Choose its tokenizer=")
        keys = key_of(lines, rows, orders, len(words))
        sort = np.argsort(keys)
        keys, rows = keys[sort], rows[sort]
        if len(twice := rows[1:][keys[1:] == keys[:-1]]):
            section.refuse(int(twice[0]), f"this {length}-gram stands twice in the file")
        scores, backoffs = lines.scores[rows], lines.backoffs[rows]
        if length == 1:
            keys, scores, backoffs = every_id(keys, scores, backoffs, len(words))
            if heard is not None:
                named = np.isin(np.arange(len(words)), lines.ids)
                scores[heard & ~named] = scores[unknown]
            scores[begin] = -np.inf
        orders.append(Estimates(keys, scores, backoffs))
    return NgramTable(len(words), len(orders)).fill(orders)


def sections(path: str) -> list[Section]:
    """The text of each order, if the file is whole."""
    data = Path(path).read_bytes()
    marks = list(MARK.finditer(data))
    if not marks or marks[0][1] != b"1":
        wrong(path, data, 0, "not an ARPA file: it has no section \\1-grams:")
    if marks[-1][1]:
        wrong(path, data, len(data.rstrip()), "the file ends here, without \\end\\: it was cut off")
    promised = {int(found[1]): found for found in SIZE.finditer(data, 0, marks[0].start())}
    result = []
    for length, (mark, following) in enumerate(zip(marks, marks[1:], strict=False), 1):
        if mark[1] != b"%d" % length:
            wrong(path, data, mark.start() + 1, f"\\{length}-grams: expected, found {mark[0].decode().strip()}")
        if length not in promised:
            wrong(path, data, mark.start() + 1, f"{length}-grams, of which \\data\\ at the top does not say how many")
        result.append(Section(path, data, mark.end(), following.start(), promised[length]))
    if missing := promised.keys() - range(len(result) + 1):
        wrong(path, data, promised[min(missing)].start(), f"{min(missing)}-grams are promised here, the file has none")
    return result


def table(section: Section, length: int, words: pa.Array) -> Lines | None:
    """The lines, read as columns; None where they have not all the same number of fields, or hold no numbers."""
    body = section.data[section.begin : section.end].replace(b"\t", b" ").strip()
    if not body:
        return Lines(np.empty(0, np.float32), np.empty((0, length), np.int64), np.empty(0, np.float32), section)
    fields = body.partition(b"\n")[0].count(b" ") + 1
    names = ["score", *map(str, range(length)), *["backoff"] * (fields == length + 2)]
    types = {name: pa.dictionary(pa.int32(), pa.string()) for name in names[1 : length + 1]}
    types |= {"score": pa.float32(), "backoff": pa.float32()}
    try:
        found = csv.read_csv(
            pa.BufferReader(body),
            csv.ReadOptions(column_names=names),
            csv.ParseOptions(delimiter=" ", quote_char=False),
            csv.ConvertOptions(column_types=types, null_values=[], strings_can_be_null=False),
        )
    except pa.ArrowInvalid:
        return None
    ids = np.stack([ids_of(found[name], words) for name in names[1 : length + 1]], axis=1)
    scores = found["score"].to_numpy()
    backoffs = found["backoff"].to_numpy() if "backoff" in names else np.zeros(len(scores), np.float32)
    return Lines(scores, ids, backoffs, section)


def ids_of(column: pa.ChunkedArray, words: pa.Array) -> Int[ndarray, "R"]:
    """The place of each word in the vocabulary, looked up once for each that there is."""
    chunks = column.unify_dictionaries().chunks
    places = pc.index_in(chunks[0].dictionary.cast(TEXT), value_set=words).fill_null(-1).to_numpy().astype(np.int64)
    return np.concatenate([places[chunk.indices.to_numpy()] for chunk in chunks])


def ragged(section: Section, length: int, words: pa.Array) -> Lines:
    """The lines, of which some have a back-off and others not, as SRILM writes them; the first wrong one is refused."""
    rows = [line.split() for line in section.data[section.begin : section.end].split(b"\n") if line.strip()]
    scores, backoffs = (np.zeros(len(rows), np.float32) for _ in range(2))
    place = {word.encode(): number for number, word in enumerate(words.to_pylist())}
    ids = np.empty((len(rows), length), np.int64)
    for number, row in enumerate(rows):
        if not length + 1 <= len(row) <= length + 2:
            section.refuse(number, f"a probability, {length} tokens and perhaps a back-off expected")
        try:
            scores[number] = float(row[0])
            backoffs[number] = float(row[length + 1]) if len(row) > length + 1 else 0
        except ValueError:
            section.refuse(number, "a probability or back-off is not a number")
        ids[number] = [place.get(word, -1) for word in row[1 : length + 1]]
    return Lines(scores, ids, backoffs, section)


def checked(lines: Lines) -> Lines:
    """Raises DataError for what is no logarithm, and for too few lines or too many; ARPA's -99 is the log of 0."""
    section, columns = lines.source, []
    for column, top, what in ((lines.scores, 0.0, "probability"), (lines.backoffs, 1e30, "back-off")):
        if len(bad := np.flatnonzero(~(column <= top))):
            section.refuse(int(bad[0]), f"{column[bad[0]]:g} is the logarithm of no {what}")
        columns.append(np.where(column <= NEVER, np.float32(-np.inf), column))
    if (promised := int(section.promise[2])) != len(lines.ids):
        what = f"{promised:,} {lines.ids.shape[1]}-grams are promised here, and the file has {len(lines.ids):,}"
        wrong(section.path, section.data, section.promise.start(), what)
    return Lines(columns[0], lines.ids, columns[1], section)


def every_id(
    keys: Int[ndarray, "R"], scores: Float32[ndarray, "R"], backoffs: Float32[ndarray, "R"], size: int
) -> tuple[ndarray, ndarray, ndarray]:
    """The unigrams with a row for each id, as tables have them."""
    whole = np.full(size, -np.inf, np.float32), np.zeros(size, np.float32)
    whole[0][keys], whole[1][keys] = scores, backoffs
    return np.arange(size), *whole


def key_of(lines: Lines, rows: Int[ndarray, "K"], lower: list[Estimates], vocab_size: int) -> Int[ndarray, "K"]:
    """The key of each of these rows, whose prefixes must all be among the `lower` orders."""
    ids = lines.ids[rows]
    key = ids[:, 0]
    for length in range(2, ids.shape[1] + 1):
        if length > 2:
            keys = lower[length - 2].keys
            row = np.searchsorted(keys, key).clip(max=max(len(keys) - 1, 0))
            lost = np.flatnonzero(keys[row] != key) if len(keys) else np.arange(len(key))
            if len(lost):
                lines.source.refuse(
                    int(rows[lost[0]]), f"its first {length - 1} tokens are no {length - 1}-gram of the file"
                )
            key = row
        key = key * vocab_size + ids[:, length - 1]
    return key

"""Back-off models as ARPA text, which SRILM, KenLM and most speech recognisers read and write."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int
from numpy import ndarray
from pyarrow import csv

from lmlab.errors import DataError
from lmlab.nn.ngram_table import NgramTable
from lmlab.nn.smoothing import Estimates

SIZES = re.compile(rb"^ngram[ \t]+(\d+)[ \t]*=[ \t]*(\d+)", re.MULTILINE)
NEVER = -99.0  # stands for the log of 0
UNSAFE = re.compile(r"[\s\x00]|\\(?=u(?:[0-9a-f]{4}|$)|(?:<s>|</s>|<unk>)$)")
NAMES = {
    "<s>": "\\<s>",
    "</s>": "\\</s>",
    "<unk>": "\\<unk>",
    "": "\\u",
}  # tokens that look like ARPA's own, or like none
SECTION = re.compile(rb"^\\(?:(\d+)-grams:|end\\)[ \t\r]*$", re.MULTILINE)
TEXT = pa.large_string()
SPACE, TAB, LINE_END, NOTHING = (pa.scalar(each, TEXT) for each in (" ", "\t", "\n", ""))
BLOCK = 500_000  # lines that are text at a time


def write_arpa(
    path: str | Path, table: NgramTable, tokens: Sequence[str], *, begin: int, end: int, unknown: int
) -> None:
    """Write a model whose id i is the token tokens[i]; three ids get the names that ARPA has for them."""
    words = pa.array(arpa_words(tokens, begin, end, unknown), TEXT)
    if len(words) != table.vocab_size:
        raise DataError(f"{len(words)} tokens for a model of {table.vocab_size}")
    scores = table.log_probs_1.cpu().numpy().copy()
    rows = np.flatnonzero(np.isfinite(scores) | np.isin(np.arange(len(words)), [begin, unknown]))
    scores[begin] = 0  # as lmplz has it: nothing predicts the beginning, and a text that names it loses nothing
    sizes = [len(rows), *(len(table.part("keys", length)) for length in range(2, table.order + 1))]
    texts = words
    with open(path, "wb") as file:
        file.write(b"\\data\\\n" + b"".join(b"ngram %d=%d\n" % each for each in enumerate(sizes, 1)))
        for length in range(1, table.order + 1):
            backoffs = table.part("backoffs", length).cpu().numpy() if length < table.order else None
            if length > 1:
                prefix, last = np.divmod(table.part("keys", length).cpu().numpy(), table.vocab_size)
                texts = pc.binary_join_element_wise(texts.take(prefix), words.take(last), SPACE)
                scores, rows = table.part("log_probs", length).cpu().numpy(), np.arange(len(texts))
            file.write(b"\n\\%d-grams:\n" % length)
            for start in range(0, len(rows), BLOCK):
                write_lines(file, rows[start : start + BLOCK], scores, texts, backoffs)
        file.write(b"\n\\end\\\n")


def write_lines(
    file: BinaryIO, rows: Int[ndarray, "N"], scores: Float[ndarray, "R"], texts: pa.Array, backoffs: ndarray | None
) -> None:
    """The n-grams of `rows`, a line each: probability, tokens and, where longer ones follow, back-off."""
    columns = [written(scores[rows]), texts.take(rows)] + ([] if backoffs is None else [written(backoffs[rows])])
    lines = pc.binary_join_element_wise(*columns, TAB)
    file.write(pc.binary_join_element_wise(lines, NOTHING, LINE_END).buffers()[2])


def written(scores: Float[ndarray, "N"]) -> pa.Array:
    return pa.array(np.maximum(scores, NEVER)).cast(TEXT)


def read_arpa(path: str | Path, tokens: Sequence[str], *, begin: int, end: int, unknown: int) -> NgramTable:
    """The model of an ARPA file over the vocabulary `tokens`; ids that the file does not name are never predicted."""
    data = Path(path).read_bytes()
    words = pa.array(arpa_words(tokens, begin, end, unknown), TEXT)
    marks = list(SECTION.finditer(data))
    lengths = [int(mark[1]) for mark in marks[:-1] if mark[1]]
    if not lengths or marks[-1][1] or lengths != list(range(1, len(lengths) + 1)):
        raise DataError(
            "not an ARPA file: its sections must be \\1-grams:, \\2-grams: and so on, then \\end\\", str(path)
        )
    promised = {int(length): int(size) for length, size in SIZES.findall(data, 0, marks[0].start())}
    orders: list[Estimates] = []
    for length, (mark, following) in enumerate(zip(marks, marks[1:], strict=False), 1):
        scores, ids, backoffs = section(data[mark.end() : following.start()], length, words, str(path))
        if promised.get(length) != len(ids):
            raise DataError(
                f"{len(ids)} of {promised.get(length, 'no')} {length}-grams found", str(path), "Copy it anew"
            )
        keys = place(ids, orders, len(words), str(path))
        sort = np.argsort(keys)
        keys, scores, backoffs = keys[sort], scores[sort], backoffs[sort]
        if np.any(keys[1:] == keys[:-1]):
            raise DataError(f"a {length}-gram stands twice in the file", str(path))
        if length == 1:
            every = [np.full(len(words), fill, np.float32) for fill in (-np.inf, 0)]
            every[0][keys], every[1][keys] = scores, backoffs
            every[0][begin] = -np.inf
            keys, scores, backoffs = np.arange(len(words)), *every
        orders.append(Estimates(keys, scores, backoffs))
    return NgramTable(len(words), len(orders)).fill(orders)


def section(data: bytes, length: int, words: pa.Array, path: str) -> tuple[ndarray, ndarray, ndarray]:
    """The probabilities, ids (R, length) and back-offs of one order's lines."""
    where = f"{path}, \\{length}-grams:"
    if not data.strip():
        return np.empty(0, np.float32), np.empty((0, length), np.int64), np.empty(0, np.float32)
    whole_lines = csv.ParseOptions(delimiter="\x1f", quote_char=False)  # no token holds that character
    as_text = csv.ConvertOptions(column_types={"line": TEXT}, strings_can_be_null=False)
    lines = csv.read_csv(pa.BufferReader(data), csv.ReadOptions(column_names=["line"]), whole_lines, as_text)["line"]
    parts = pc.split_pattern(lines, "\t").combine_chunks()
    fields = pc.list_value_length(parts).to_numpy()
    if not np.all((fields == 2) | (fields == 3)):
        raise DataError("a line is not a probability, a tab, the tokens and perhaps a tab and a back-off", where)
    first, flat = np.cumsum(fields) - fields, parts.flatten()
    grams = pc.split_pattern(flat.take(first + 1), " ")
    if not np.all(pc.list_value_length(grams).to_numpy() == length):
        raise DataError(f"a line has not {length} tokens", where)
    ids = pc.index_in(grams.flatten(), value_set=words)
    if ids.null_count:
        raise DataError(f"the token {grams.flatten().filter(ids.is_null())[0]} is not in the vocabulary", where)
    backoffs = np.zeros(len(fields), np.float32)
    try:
        scores = flat.take(first).cast(pa.float32()).to_numpy().copy()
        backoffs[fields == 3] = flat.take((first + 2)[fields == 3]).cast(pa.float32()).to_numpy()
    except pa.ArrowInvalid as error:
        raise DataError(f"a probability or back-off is not a number: {error}", where) from error
    for column in (scores, backoffs):
        column[column <= NEVER] = -np.inf
    return scores, ids.to_numpy().reshape(-1, length).astype(np.int64), backoffs


def place(ids: Int[ndarray, "R n"], lower: list[Estimates], vocab_size: int, path: str) -> Int[ndarray, "R"]:
    """The key of each n-gram, whose prefixes must all be among the `lower` orders."""
    key = ids[:, 0]
    for length in range(2, ids.shape[1] + 1):
        if length > 2:
            keys = lower[length - 2].keys
            row = np.searchsorted(keys, key).clip(max=len(keys) - 1)
            if not len(keys) or np.any(keys[row] != key):
                raise DataError(f"an n-gram's first {length - 1} tokens are no {length - 1}-gram of the file", path)
            key = row
        key = key * vocab_size + ids[:, length - 1]
    return key


def arpa_words(tokens: Sequence[str], begin: int, end: int, unknown: int) -> list[str]:
    """The vocabulary as ARPA can hold it: white space and NUL as \\u and four digits.

    So is a backslash that could be read as one of these or of `NAMES`; all others stay, as other tools write them.
    """
    words = [NAMES.get(token) or UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", token) for token in tokens]
    words[begin], words[end], words[unknown] = list(NAMES)[:3]
    if len(set(words)) < len(words):
        raise DataError("two ids have the same token: ARPA tells them apart by their text alone")
    return words

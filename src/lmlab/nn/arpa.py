"""Back-off models written as ARPA text, which SRILM, KenLM and most speech recognisers read."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int
from numpy import ndarray

from lmlab.errors import DataError
from lmlab.nn.ngram_table import NgramTable

NEVER = -99.0  # stands for the log of 0
UNSAFE = re.compile(r"[\s\x00]|\\(?=u(?:[0-9a-f]{4}|$)|(?:<s>|</s>|<unk>)$)")
NAMES = {
    "<s>": "\\<s>",
    "</s>": "\\</s>",
    "<unk>": "\\<unk>",
    "": "\\u",
}  # tokens that look like ARPA's own, or like none
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


def arpa_words(tokens: Sequence[str], begin: int, end: int, unknown: int) -> list[str]:
    """The vocabulary as ARPA can hold it: white space and NUL as \\u and four digits.

    So is a backslash that could be read as one of these or of `NAMES`; all others stay, as other tools write them.
    """
    words = [NAMES.get(token) or UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", token) for token in tokens]
    words[begin], words[end], words[unknown] = list(NAMES)[:3]
    if len(set(words)) < len(words):
        raise DataError("two ids have the same token: ARPA tells them apart by their text alone")
    return words

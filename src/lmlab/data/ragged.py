"""Rows of unequal length in two flat arrays, in memory or mapped from disk."""

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np


class Ragged:
    """Row i is `values[offsets[i]:offsets[i + 1]]`: tokens, or the UTF-8 bytes of a text."""

    def __init__(self, values: np.ndarray, offsets: np.ndarray) -> None:
        self.values, self.offsets = values, offsets

    @classmethod
    def from_tokens(cls, blocks: Iterable[list[list[int]]], dtype: type[np.unsignedinteger]) -> "Ragged":
        """From blocks of rows of ids, such as `Tokenizer.encode` returns."""
        values, lengths = [np.empty(0, dtype)], [np.zeros(1, np.int64)]
        for rows in blocks:
            lengths.append(np.fromiter(map(len, rows), np.int64, len(rows)))
            values.append(np.fromiter(chain.from_iterable(rows), dtype, int(lengths[-1].sum())))
        return cls(np.concatenate(values), np.concatenate(lengths).cumsum())

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> "Ragged":
        rows = [text.encode("utf-8", "surrogatepass") for text in texts]
        offsets = np.fromiter(chain([0], map(len, rows)), np.int64, len(rows) + 1).cumsum()
        return cls(np.frombuffer(b"".join(rows), np.uint8), offsets)

    @classmethod
    def load(cls, folder: Path, name: str) -> "Ragged":
        """Mapped, not read: processes that open the same rows share their pages."""
        values = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        values = values.view(np.ndarray)  # indexing the subclass memmap is slower
        return cls(values, np.load(folder / f"{name}.offsets.npy", allow_pickle=False))

    def save(self, folder: Path, name: str) -> None:
        np.save(folder / f"{name}.npy", self.values)
        np.save(folder / f"{name}.offsets.npy", self.offsets)

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def text(self, row: int) -> str:
        return self[row].tobytes().decode("utf-8", "surrogatepass")


class RaggedWriter:
    """Writes a Ragged to disk block by block, so that it may be larger than memory."""

    def __init__(self, folder: Path, name: str, dtype: type[np.unsignedinteger]) -> None:
        self.folder, self.name, self.dtype = folder, name, np.dtype(dtype)
        self.lengths: list[np.ndarray] = [np.zeros(1, np.int64)]
        self.size = 0

    def __enter__(self) -> "RaggedWriter":
        self.file = (self.folder / f"{self.name}.npy").open("wb")
        self._header()
        return self

    def add(self, values: np.ndarray, lengths: Sequence[int] | np.ndarray) -> None:
        """Rows of these lengths, whose values follow one another."""
        np.asarray(values, self.dtype).tofile(self.file)
        self.size += len(values)
        self.lengths.append(np.asarray(lengths, np.int64))

    def __exit__(self, *_: object) -> None:
        self.file.seek(0)
        self._header()
        self.file.close()
        np.save(self.folder / f"{self.name}.offsets.npy", np.concatenate(self.lengths).cumsum())

    def _header(self) -> None:
        """numpy leaves room in it for the length to grow."""
        facts = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.size,)}
        np.lib.format.write_array_header_1_0(self.file, facts)


def ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The whole numbers starts[i], starts[i] + 1, ... (counts[i] of them) for every i, one after another."""
    ends = counts.cumsum()
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)

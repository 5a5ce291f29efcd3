"""Word vectors as other programs read and write them: word2vec's text and binary formats, GloVe's text, safetensors."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lmlab.errors import DataError, InputMissing
from lmlab.tokenizer import Tokenizer

Entries = Iterator[tuple[str, np.ndarray]]  # a word, in which _ stands for a space, and its vector (D,)
FIX = "Save it again, in one of word2vec's formats (.txt, .vec, .bin) or as .safetensors"


def read(path: Path) -> Entries:
    """The words of a file with their vectors, one after another: what a reader does not keep takes no memory."""
    if not path.is_file():
        raise InputMissing(
            "there are no word vectors", str(path), "Give a run folder, .txt, .vec, .bin or .safetensors"
        )
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return read_binary(path) if path.suffix == ".bin" else read_text(path)


def read_text(path: Path) -> Entries:
    """A line each: a word and its numbers, apart by spaces. word2vec's files begin with a line of their size."""
    width, begin = None, 1
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline().split()
        if len(first) == 2 and all(part.isdecimal() for part in first):
            width, begin = int(first[1]), 2
        else:
            file.seek(0)
        for number, line in enumerate(file, start=begin):
            word, *numbers = line.rstrip().split(" ")
            width = width or len(numbers)
            try:
                vector = np.array(numbers, np.float32)
            except ValueError:
                vector = np.empty(0, np.float32)
            if len(vector) != width or not width:
                raise DataError(f"a word and {width or 'its'} numbers expected", f"{path}:{number}", FIX)
            yield word, vector


def read_binary(path: Path) -> Entries:
    """A line of the size, then for each word its letters, a space, and little-endian float32 numbers."""
    with path.open("rb") as file:
        try:
            count, width = map(int, file.readline(64).split())
        except ValueError:
            raise DataError("not a binary file of word2vec: no line of its size", str(path), FIX) from None
        for number in range(count):
            letters = bytearray()
            while (letter := file.read(1)) not in (b" ", b""):
                letters += letter
            numbers = file.read(4 * width)
            if len(numbers) < 4 * width:
                raise DataError(f"the file ends after {number:,} of {count:,} words", str(path), "Copy it again")
            yield letters.lstrip(b"\n").decode("utf-8", errors="replace"), np.frombuffer(numbers, "<f4")


def read_safetensors(path: Path) -> Entries:
    """A tensor `vectors` (V, D), and beside it the words as a list in JSON."""
    try:
        with safe_open(path, framework="numpy") as file:
            words = json.loads((file.metadata() or {})["words"])
            vectors = file.get_tensor("vectors")
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"no safetensors file of word vectors: {error}", str(path), FIX) from None
    yield from zip(words, vectors, strict=True)


def write_text(path: Path, words: Sequence[str], vectors: np.ndarray) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{len(words)} {vectors.shape[1]}\n")
        for word, vector in zip(words, vectors.tolist(), strict=True):
            file.write(f"{word} {' '.join(f'{number:.7g}' for number in vector)}\n")


def write_binary(path: Path, words: Sequence[str], vectors: np.ndarray) -> None:
    with path.open("wb") as file:
        file.write(f"{len(words)} {vectors.shape[1]}\n".encode())
        for word, vector in zip(words, vectors.astype("<f4"), strict=True):
            file.write(word.encode() + b" " + vector.tobytes() + b"\n")


def write_safetensors(path: Path, words: Sequence[str], vectors: np.ndarray) -> None:
    save_file({"vectors": np.ascontiguousarray(vectors)}, path, {"words": json.dumps(list(words), ensure_ascii=False)})


FORMATS: dict[str, tuple[str, Callable[[Path, Sequence[str], np.ndarray], None]]] = {
    "word2vec": ("vectors.txt", write_text),
    "word2vec_binary": ("vectors.bin", write_binary),
    "safetensors": ("vectors.safetensors", write_safetensors),
}


def writers(vectors: Callable[[], np.ndarray]) -> dict[str, Callable[[Path, Tokenizer], list[Path]]]:
    """What writes a table (V, D) into a folder, by the format's name; V are the entries of a tokenizer."""

    def write(name: str, save: Callable, folder: Path, tokenizer: Tokenizer) -> list[Path]:
        special = {*tokenizer.never, tokenizer.sep_id}
        known = {id: entry for id, entry in enumerate(tokenizer.entries()) if id not in special}
        save(folder / name, [entry.replace(" ", "_") for entry in known.values()], vectors()[list(known)])
        return [folder / name]

    return {format: partial(write, *how) for format, how in FORMATS.items()}

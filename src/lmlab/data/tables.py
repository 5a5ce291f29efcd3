"""Files of records (csv, tsv, jsonl, parquet, txt), read line by line; what is wrong is told by its place."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from lmlab.errors import ConfigError, DataError, InputMissing

Record = tuple[int, dict[str, Any]]  # line (or row, in parquet) and the values by column

csv.field_size_limit(2**31 - 1)


def lines(file: BinaryIO, name: str, encoding: str) -> Iterator[str]:
    """The decoded lines with their ends, without a byte-order mark."""
    try:
        wide = len("\n".encode(encoding)) > 1  # utf-16 and utf-32: bytes cannot be cut at b"\n"
    except LookupError as error:
        raise ConfigError(
            f"data.encoding: unknown encoding '{encoding}'", fix="Try utf-8, latin-1 or utf-16"
        ) from error
    blocks = ([b"".join(unpacked(file, name))]) if wide else unpacked(file, name)
    for number, raw in enumerate(blocks, 1):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError as error:
            raise _undecodable(raw, number, error, name, encoding) from error
        if "\0" in text:
            raise DataError(
                f"line {number} holds NUL, as text in UTF-16 does when read as {encoding}",
                name,
                "Set data.encoding=utf-16 (or utf-16-le, utf-16-be)",
            )
        text = text.removeprefix("\ufeff") if number == 1 else text
        yield from io.StringIO(text, newline="\n") if wide else (text,)


def unpacked(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The lines as bytes; of a .gz they turn out bad only as they are read."""
    try:
        yield from file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"not a whole .gz file: {error}", name, "Write or copy it again") from error


def _undecodable(raw: bytes, number: int, error: UnicodeDecodeError, name: str, encoding: str) -> DataError:
    guess = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1"
    return DataError(
        f"byte 0x{raw[error.start]:02x} in line {number}, byte {error.start + 1} is not {encoding}",
        name,
        f"Set data.encoding={guess}, or the encoding the file was written in",
    )


def records(path: Path, encoding: str = "utf-8") -> Iterator[Record]:
    """The records of a file, whose kind its ending tells."""
    kind = unzipped(path).suffix.lower()
    if kind not in ENDINGS or (kind == ".parquet" and path.suffix == ".gz"):
        known = ", ".join(ENDINGS)
        raise DataError(f"files that end in '{path.suffix}' are not read", str(path), f"Known endings: {known}")
    if not path.is_file():
        raise InputMissing("file not found", str(path), "Check the path")
    if path.stat().st_size == 0:
        raise DataError(f"{path.name} is empty", str(path), "Give a file with rows")
    return _parquet(path) if kind == ".parquet" else _text_records(path, encoding)


def unzipped(path: Path) -> Path:
    """The path without .gz."""
    return path.with_suffix("") if path.suffix == ".gz" else path


def opened(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked where it is a .gz."""
    try:
        return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
    except OSError as error:
        raise InputMissing(f"the file cannot be read: {error.strerror}", str(path), "Check its permissions") from error


def _text_records(path: Path, encoding: str) -> Iterator[Record]:
    with opened(path) as file:
        yield from READERS[unzipped(path).suffix.lower()](lines(file, str(path), encoding), str(path))


def _csv(source: Iterator[str], name: str) -> Iterator[Record]:
    return _delimited(csv.reader(source, strict=True), name)


def _tsv(source: Iterator[str], name: str) -> Iterator[Record]:
    """No quoting: a tab or a line's end cannot stand in a field, a quotation mark is only that."""
    return _delimited(csv.reader(source, delimiter="\t", quoting=csv.QUOTE_NONE), name)


def _delimited(reader: Any, name: str) -> Iterator[Record]:
    header: list[str] | None = None
    begin = 1  # the line on which the record began: a quoted field may run over several
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = "an open quotation mark" if "end of data" in str(error) else str(error)
            raise DataError(
                f"line {begin}: {what}", name, 'Close the quotation mark; inside a field write it twice: ""'
            ) from error
        if header is None:
            header = [field.strip() for field in fields]
            if len(set(header)) < len(header):
                raise DataError(f"line 1 names a column twice: {', '.join(header)}", name, "Rename one")
        elif fields:
            if len(fields) != len(header):
                raise DataError(
                    f"line {begin}: {len(header)} columns expected ({', '.join(header)}), found {len(fields)}",
                    name,
                    "Put fields that hold the delimiter in quotation marks"
                    if name.endswith(".csv")
                    else "Mend the line",
                )
            yield begin, dict(zip(header, fields, strict=True))
        begin = reader.line_num + 1


def _jsonl(source: Iterator[str], name: str) -> Iterator[Record]:
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.rstrip("\r\n"))
        except json.JSONDecodeError as error:
            raise DataError(
                f"line {number}, column {error.colno}: JSON expected, {error.msg}", name, "Write one object a line"
            ) from error
        if not isinstance(record, dict):
            found = type(record).__name__
            raise DataError(f"line {number}: an object expected, found {found}", name, 'Write {"text": ...} a line')
        yield number, record


def _txt(source: Iterator[str], name: str) -> Iterator[Record]:
    for number, line in enumerate(source, 1):
        yield number, {"text": line.rstrip("\r\n")}


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path)
        batches = list(table.iter_batches())
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0][:120]
        raise DataError(f"not a whole parquet file: {reason}", str(path), "Write or copy it again") from error
    number = 0
    for batch in batches:
        for record in batch.to_pylist():
            number += 1
            yield number, record


READERS: dict[str, Callable[[Iterator[str], str], Iterator[Record]]]
READERS = {".csv": _csv, ".tsv": _tsv, ".jsonl": _jsonl, ".txt": _txt}  # from lines and the file's name
ENDINGS = (*READERS, ".parquet")

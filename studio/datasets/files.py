"""Opens a data file: finds its kind by its name, unpacks its text within a bound, and decodes it."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from studio.errors import ImportRefused

JSON_LINES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
JSON = (".json", ".json.gz")
TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
PARQUET = (".parquet",)
ZIP = (".zip",)
TYPES = (*JSON_LINES, *JSON, *TABLES, *PARQUET)
MAX_GIB = 1.0
"""Data larger than this when unpacked is refused unless the person allows more."""

_BYTES_PER_GIB = 2**30
_CHUNK = 2**20
_TIGHTEST = 60
"""Times that data may grow when it is unpacked: texts shrink to a fifth, repeated ones to a thirtieth."""
_BYTE_ORDER_MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_NO_TEXT = {
    b"PK": "a zip archive or an Excel workbook. Unpack it, or save the sheet as CSV",
    b"PAR1": "a Parquet file. Give it the ending .parquet",
    b"\x1f\x8b": "packed with gzip twice. Unpack it once",
}
"""First bytes of files whose content differs from their name, and what to do about it."""

_GZIP = b"\x1f\x8b"
_NO_DATA = (".md", ".py", ".lock", ".gitattributes", ".gitignore", ".license", ".html", ".png", ".jpg", ".jpeg", ".svg")


def is_type(name: str, endings: tuple[str, ...] = TYPES) -> bool:
    """Return whether a file's name has one of these endings, in upper or lower case."""
    return name.lower().endswith(endings)


def may_hold_data(path: Path) -> bool:
    """Return whether a person could expect rows from this file, so that leaving it out must be reported."""
    return not path.name.lower().endswith(_NO_DATA) and path.stem.lower() not in ("readme", "license", "licence")


@dataclass
class Meter:
    """How far a file was read, in bytes as they lie on the disk."""

    done: int = 0
    total: int = 1


def lines(path: Path, name: str, max_gib: float, meter: Meter) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a text file one by one, unpacked where it is gzipped.

    Raises:
        ImportRefused: as `text`; a line is larger than `max_gib` GiB.
    """
    longest, num_bytes = int(max_gib * _BYTES_PER_GIB), 0
    with path.open("rb") as raw:
        begin = raw.read(4)
        raw.seek(0)
        if any(begin.startswith(mark) for mark in _BYTE_ORDER_MARKS):
            yield from enumerate(text(path, name, max_gib).split("\n"), start=1)
            return
        is_packed = begin.startswith(_GZIP) or name.lower().endswith(".gz")
        file = cast(BinaryIO, gzip.open(raw)) if is_packed else raw  # noqa: SIM115  # raw is what has to be closed
        try:
            for number, line in enumerate(iter(lambda: file.readline(longest + 1), b""), start=1):
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                    _refuse_other(line, name)
                num_bytes += len(line)
                if number % 1000 == 0:
                    meter.done = raw.tell()
                    check_growth(path, name, num_bytes, max_gib)
                check_size(name, len(line), max_gib)
                yield number, _decoded(line, name, number)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _not_gzip(name, error) from error


def _decoded(line: bytes, name: str, number: int) -> str:
    try:
        found = line.decode()
    except UnicodeDecodeError as error:
        raise _not_text(name, number, "UTF-8") from error
    if "\0" in found:
        raise _zero(name, number)
    return found


def _refuse_other(begin: bytes, name: str) -> None:
    """Refuse a file whose first bytes say that it is not text."""
    if what := next((words for mark, words in _NO_TEXT.items() if begin.startswith(mark)), ""):
        raise ImportRefused(f"{name} is {what}. Nothing was imported.")


def _not_text(name: str, line: int, encoding: str) -> ImportRefused:
    return ImportRefused(f"{name}, line {line}: the text is not {encoding}. Nothing was imported; save it as UTF-8.")


def _zero(name: str, line: int) -> ImportRefused:
    return ImportRefused(
        f"{name}, line {line}: holds a zero byte, so it is not text, was cut off by a crash, or is UTF-16 without a mark. "
        "Nothing was imported; save it as UTF-8."
    )


def _not_gzip(name: str, error: Exception) -> ImportRefused:
    return ImportRefused(f"{name} is not a whole gzip file ({error}). Download or pack it again.")


def text(path: Path, name: str, max_gib: float) -> str:
    """Return the text of a file, unpacked where its name ends with .gz.

    Raises:
        ImportRefused: it is larger than `max_gib` GiB, not a complete gzip file, not a text, or in an encoding other
            than UTF-8 or marked UTF-16 and UTF-32.
    """
    raw = _bytes(path, name, max_gib)
    _refuse_other(raw, name)
    encoding = next((found for mark, found in _BYTE_ORDER_MARKS.items() if raw.startswith(mark)), "utf-8-sig")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _not_text(name, line, encoding.removesuffix("-sig").upper()) from error
    if (zero := text.find("\0")) >= 0:
        raise _zero(name, text.count("\n", 0, zero) + 1)
    return text


def check_size(name: str, num_bytes: int, max_gib: float) -> None:
    """Refuse data that is larger than the bound.

    Raises:
        ImportRefused: it is larger; the message says what to do about it.
    """
    if num_bytes > max_gib * _BYTES_PER_GIB:
        raise ImportRefused(
            f"{name} holds more than {max_gib:g} GiB when unpacked, and all of it would be held in memory. Nothing was imported; "
            f"split the file, or allow more in the terminal with --max-gib {max(2, round(2 * max_gib))}."
        )


def check_growth(path: Path, name: str, num_bytes: int, max_gib: float) -> None:
    """Refuse data that is larger than the bound and was packed more tightly than texts can be.

    Raises:
        ImportRefused: as `check_size`.
    """
    if num_bytes > _TIGHTEST * path.stat().st_size:
        check_size(name, num_bytes, max_gib)


def _bytes(path: Path, name: str, max_gib: float) -> bytes:
    with path.open("rb") as file:
        is_packed = file.read(len(_GZIP)) == _GZIP
    if not is_packed and not name.lower().endswith(".gz"):
        check_size(name, path.stat().st_size, max_gib)
        return path.read_bytes()
    unpacked = bytearray()
    try:
        with gzip.open(path) as file:
            while chunk := file.read(_CHUNK):
                unpacked += chunk
                check_size(name, len(unpacked), max_gib)
    except (OSError, EOFError, zlib.error) as error:
        raise _not_gzip(name, error) from error
    return bytes(unpacked)

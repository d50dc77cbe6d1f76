"""Opens a data file: finds its kind by its name, unpacks its text within a bound, and decodes it."""

import gzip
import zlib
from pathlib import Path

from studio.errors import ImportRefused

JSON_LINES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
JSON = (".json", ".json.gz")
TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
PARQUET = (".parquet",)
TYPES = (*JSON_LINES, *JSON, *TABLES, *PARQUET)
MAX_GIB = 1.0
"""Data larger than this when unpacked is refused unless the person allows more."""

_BYTES_PER_GIB = 2**30
_CHUNK = 2**20
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


def text(path: Path, name: str, max_gib: float) -> str:
    """Return the text of a file, unpacked where its name ends with .gz.

    Raises:
        ImportRefused: it is larger than `max_gib` GiB, not a complete gzip file, not a text, or in an encoding other
            than UTF-8 or marked UTF-16 and UTF-32.
    """
    raw = _bytes(path, name, max_gib)
    if what := next((words for begin, words in _NO_TEXT.items() if raw.startswith(begin)), ""):
        raise ImportRefused(f"{name} is {what}. Nothing was imported.")
    encoding = next((found for mark, found in _BYTE_ORDER_MARKS.items() if raw.startswith(mark)), "utf-8-sig")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        told = encoding.removesuffix("-sig").upper()
        raise ImportRefused(
            f"{name}, line {line}: the text is not {told}. Nothing was imported; save it as UTF-8."
        ) from error
    if (zero := text.find("\0")) >= 0:
        line = text.count("\n", 0, zero) + 1
        raise ImportRefused(
            f"{name}, line {line}: holds a zero byte, so it is not text, was cut off by a crash, or is UTF-16 without a mark. "
            "Nothing was imported; save it as UTF-8."
        )
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
        raise ImportRefused(f"{name} is not a whole gzip file ({error}). Download or pack it again.") from error
    return bytes(unpacked)

"""Opens a data file: what kind it is by its name, its text unpacked within a bound, and its encoding."""

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
_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_NO_DATA = (".md", ".py", ".lock", ".gitattributes", ".gitignore", ".license", ".html", ".png", ".jpg", ".jpeg", ".svg")


def is_type(name: str, endings: tuple[str, ...] = TYPES) -> bool:
    """Return whether a file's name has one of these endings, in upper or lower case."""
    return name.lower().endswith(endings)


def may_hold_data(path: Path) -> bool:
    """Return whether somebody could expect rows from this file, so that leaving it out must be said."""
    return not path.name.lower().endswith(_NO_DATA) and path.stem.lower() not in ("readme", "license", "licence")


def text(path: Path, name: str, max_gib: float) -> str:
    """Return the text of a file, unpacked where its name ends with .gz.

    Raises:
        ImportRefused: it is larger than `max_gib` GiB, not a whole gzip file, or neither UTF-8 nor marked as UTF-16.
    """
    raw = _bytes(path, name, max_gib)
    encoding = _BYTE_ORDER_MARKS.get(raw[:2], "utf-8-sig")
    try:
        return raw.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ImportRefused(
            f"{name}, line {line}: the text is not UTF-8. Nothing was imported; save it as UTF-8."
        ) from error


def check_size(name: str, num_bytes: int, max_gib: float) -> None:
    """Refuse data that is larger than the bound.

    Raises:
        ImportRefused: with what to do about it.
    """
    if num_bytes > max_gib * _BYTES_PER_GIB:
        raise ImportRefused(
            f"{name} holds more than {max_gib:g} GiB when unpacked, and all of it would be held in memory. Nothing was imported; "
            f"split the file, or allow more in the terminal with --max-gib {max(2, round(2 * max_gib))}."
        )


def _bytes(path: Path, name: str, max_gib: float) -> bytes:
    if not name.lower().endswith(".gz"):
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

"""Names of columns as people write them: with blanks around, in capitals, or twice."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from studio.datasets.formats.table import COLUMNS
from studio.errors import ImportRefused

_BLANKS = re.compile(r"^[\s\u200b\u2060\ufeff]+|[\s\u200b\u2060\ufeff]+$")
"""Including invisible characters of zero width."""


def fold(name: str) -> str:
    """Return the known name that is meant (`Response A ` is response_a), or the name as it is where none is."""
    bare = _BLANKS.sub("", name)
    small = bare.casefold()
    return next((known for known in (bare, small, re.sub(r"\s+", "_", small)) if known in COLUMNS), name)


def names(columns: Sequence[str], file: str) -> list[str]:
    """Return the names of a file's columns as they are read.

    Raises:
        ImportRefused: two columns would have one name.
    """
    folded = [fold(column) for column in columns]
    for column in folded:
        if column in COLUMNS and folded.count(column) > 1:
            twice = [written for written in columns if fold(written) == column]
            raise ImportRefused(
                f"{file} has the column {column} {'twice' if len(twice) == 2 else f'{len(twice)} times'}"
                f"{_as_written(twice)}. Nothing was imported; rename one, so that it is clear which is meant."
            )
    return folded


def rename(row: Mapping[str, Any], file: str, line: int) -> dict[str, Any]:
    """Return a row with its columns named as they are read.

    Raises:
        ImportRefused: two columns would have one name.
    """
    if all(column in COLUMNS for column in row):
        return dict(row)
    return dict(zip(names(list(row), f"{file}, line {line}:" if line else file), row.values(), strict=True))


def of_rows(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return all columns of rows, in the order in which they first occur."""
    return list(dict.fromkeys(column for row in rows for column in row))


def _as_written(columns: Sequence[str]) -> str:
    return f" (as {' and '.join(repr(column) for column in columns)})" if len(set(columns)) > 1 else ""

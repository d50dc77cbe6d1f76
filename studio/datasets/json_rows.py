"""Reads rows from JSON: one object a line, a list of objects, consecutive objects, or columns as from pandas."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from studio.datasets import columns, files
from studio.datasets.files import Meter
from studio.datasets.formats.table import ROW_COLUMNS
from studio.errors import ImportRefused

Row = dict[str, Any]


class _Twice(ValueError):
    """An object has a key twice; Python's reader would silently drop the first."""


def stream(path: Path, name: str, max_gib: float, meter: Meter) -> Iterator[Row]:
    """Yield the rows of a file that should hold one object a line, of which only one line is in memory.

    A file whose first line is not an object is read as `lines` reads it.

    Raises:
        ImportRefused: as `lines`; the rows before the broken line were yielded.
    """
    has_begun = False
    for number, line in files.lines(path, name, max_gib, meter):
        if not line.strip():
            continue
        try:
            row = _line(line)
        except (ValueError, RecursionError) as error:
            if not has_begun:
                break
            raise _broken_line(error, name, number) from error
        if not isinstance(row, dict):
            if not has_begun:
                break
            raise _not_an_object(f"{name}, line {number}", row)
        has_begun = True
        yield columns.rename(row, name, number)
    if not has_begun:
        yield from lines(files.text(path, name, max_gib), name)


def lines(text: str, name: str) -> list[Row]:
    """Return the rows of a file that should hold one object a line.

    A file with this ending that is one JSON value over several lines, or several such values, is read as well.

    Raises:
        ImportRefused: a line is broken or holds no object.
    """
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = _line(line)
        except (ValueError, RecursionError) as error:
            if not rows and (values := _values(text)):
                return _of_values(values, name)
            if not rows and text.lstrip().startswith("["):
                _refuse_list(text, name)
            raise _broken_line(error, name, number) from error
        if not isinstance(row, dict):
            if not rows and isinstance(row, list) and (values := _values(text)) and len(values) == 1:
                return _of_values(values, name)
            raise _not_an_object(f"{name}, line {number}", row)
        rows.append(columns.rename(row, name, number))
    return rows


def document(text: str, name: str) -> list[Row]:
    """Return the rows of a file that should hold one JSON value.

    Raises:
        ImportRefused: it is broken, or holds neither rows nor columns.
    """
    if not text.strip():
        return []
    try:
        return _of_values([_loads(text)], name)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            return lines(text, name)
        raise _broken(error, name) from error


def _refuse_list(text: str, name: str) -> None:
    """Name the line at which a list over several lines breaks, instead of its first line."""
    try:
        _loads(text)
    except (ValueError, RecursionError) as error:
        if not isinstance(error, json.JSONDecodeError) or error.msg != "Extra data":
            raise _broken(error, name) from error


def _broken_line(error: Exception, name: str, number: int) -> ImportRefused:
    cause = _cause(error, is_line=True)
    return ImportRefused(f"{name}, line {number}: {cause}. Nothing was imported; fix this line and try again.")


def _broken(error: Exception, name: str) -> ImportRefused:
    line = ""
    if isinstance(error, json.JSONDecodeError):
        number = error.doc.rstrip().count("\n") + 1 if _is_cut(error) else error.lineno
        line = f", line {number}"
    return ImportRefused(f"{name}{line}: {_cause(error)}. Nothing was imported; fix it and try again.")


def _line(line: str) -> Any:
    """Return the value of a line; a comma may follow it, left from a list without its brackets."""
    try:
        return _loads(line)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and line[error.pos :].strip() == ",":
            return _loads(line[: error.pos])
        raise


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(f"has the column {next(key for key in keys if keys.count(key) > 1)} twice; rename one")
    return found


def _values(text: str) -> list[Any]:
    """Return the consecutive JSON values of a text; none where a part of it is not JSON."""
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    values, position = [], 0
    try:
        while position < len(text):
            if text[position].isspace():
                position += 1
                continue
            value, position = decoder.raw_decode(text, position)
            values.append(value)
    except (ValueError, RecursionError):
        return []
    return values


def _of_values(values: Sequence[Any], name: str) -> list[Row]:
    rows = _rows(values[0], name) if len(values) == 1 else list(values)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise _not_an_object(f"{name}, entry {number}", row)
    return [columns.rename(row, f"{name}, entry {number}:", 0) for number, row in enumerate(rows, start=1)]


def _rows(value: Any, name: str) -> list[Any]:
    """Return the rows of one value: a list, the list inside an object, columns, or one row."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise ImportRefused(f"{name} holds {_type(value)} where a list of objects is needed. Nothing was imported.")
    if set(value) >= {"columns", "data"} and isinstance(value["columns"], list):  # pandas, orient="split"
        return [dict(zip(map(str, value["columns"]), row, strict=False)) for row in value["data"]]
    if any(columns.fold(column) in ROW_COLUMNS for column in value):
        return _of_columns(value, name) or [value]
    lists = [part for part in value.values() if isinstance(part, list) and part and isinstance(part[0], dict)]
    if len(lists) == 1:
        return lists[0]
    entries = list(value.values())
    is_by_index = all(isinstance(row, dict) and any(columns.fold(key) in ROW_COLUMNS for key in row) for row in entries)
    return entries if entries and is_by_index else [value]  # pandas, orient="index"


def _of_columns(value: Mapping[str, Any], name: str) -> list[Row]:
    """Return the rows of an object that holds whole columns; none where it is one row."""
    parts = {column: _cells(part) for column, part in value.items()}
    if any(cells is None for cells in parts.values()):
        return []
    lengths = {column: len(cells or ()) for column, cells in parts.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{column} {length}" for column, length in lengths.items())
        raise ImportRefused(
            f"{name} holds columns instead of rows, and they are of different lengths ({told}). Nothing was imported; "
            "write it again as one object a row (in pandas: to_json(orient='records', lines=True))."
        )
    return [dict(zip(parts, row, strict=True)) for row in zip(*(cells or () for cells in parts.values()), strict=True)]


def _cells(part: Any) -> list[Any] | None:
    """Return the cells of a column, which is a list or maps 0, 1, 2, ... to cells; None for a single cell, such as turns."""
    if isinstance(part, dict) and part and all(key.isdecimal() for key in part):
        return list(part.values())
    if not isinstance(part, list) or any(isinstance(cell, dict) and {"role", "from"} & cell.keys() for cell in part):
        return None
    return part


def _cause(error: Exception, *, is_line: bool = False) -> str:
    if isinstance(error, _Twice):
        return str(error)
    if isinstance(error, json.JSONDecodeError):
        if _is_cut(error):
            return f"broken JSON (the {'line' if is_line else 'file'} ends in the middle of a row: {error.msg})"
        return f"broken JSON ({error.msg}{f', column {error.colno}' if is_line else ''})"
    if isinstance(error, RecursionError):
        return "nested too deeply to be read"
    return "a number of thousands of digits" if "int_max_str_digits" in str(error) else f"broken JSON ({error})"


def _is_cut(error: json.JSONDecodeError) -> bool:
    """Return whether a text ends where more must follow, so that its error lies on no line of it."""
    return error.pos >= len(error.doc.rstrip())


def _not_an_object(place: str, value: Any) -> ImportRefused:
    return ImportRefused(
        f"{place}: holds {_type(value)} where an object with named columns is needed. Nothing was imported."
    )


def _type(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "a truth value", dict: "an object", type(None): "a null"}
    return names.get(type(value), "a number")

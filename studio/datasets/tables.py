"""Reads CSV and Parquet. A CSV file's header tells its separator: Excel writes semicolons or tabs by country."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.datasets import columns, files
from studio.datasets.formats.table import COLUMNS
from studio.errors import ImportRefused

Row = dict[str, Any]
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_LONGEST_CELL = 2**31 - 1
_EXCEL_HINT = re.compile(r'"?sep *= *([^\w\s"\']|\t)"?(?:\r\n?|\n)', re.IGNORECASE)
_BATCH = 256
_BYTES_PER_ROW = 300
"""About the bytes that Python needs for a row and its short cells, besides the text."""


def read_csv(text: str, name: str) -> tuple[list[str], list[Row]]:
    """Return the columns and the rows of a table whose first line is the header.

    Raises:
        ImportRefused: it is broken; names the line.
    """
    csv.field_size_limit(_LONGEST_CELL)
    hint = _EXCEL_HINT.match(text)
    first_line = 2 if hint else 1
    text = text[hint.end() :] if hint else text
    separator = hint[1] if hint else _separator(text, name)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] | None = None
    rows: list[Row] = []
    begins = first_line
    try:
        for cells in reader:
            if header is None:
                header = columns.names(cells, name) if cells else None
            elif cells:
                if len(cells) > len(header):
                    raise _too_wide(name, begins, len(cells), len(header), separator)
                rows.append(dict(zip(header, [*cells, *[None] * (len(header) - len(cells))], strict=True)))
            begins = first_line + reader.line_num
    except csv.Error as error:
        ends = first_line + reader.line_num - 1
        raise ImportRefused(
            f"{name}, line {begins}: broken CSV ({_cause(error, begins, ends)}). Nothing was imported; put a text that holds quotes, "
            f"{SEPARATORS.get(separator, repr(separator))} or line breaks into double quotes, and write each quote in it twice."
        ) from error
    return header or [], rows


def read_parquet(path: Path, name: str, max_gib: float) -> Iterator[Row]:
    """Yield the rows of a Parquet file, of which only one batch is in memory.

    Raises:
        ImportRefused: it is damaged, has a column twice, or grows beyond all measure when unpacked.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            written = file.schema_arrow.names
            named = columns.names(written, name)
            num_bytes = 0
            for batch in file.iter_batches(batch_size=_batch_size(file, max_gib)):
                rows = batch.rename_columns(named).to_pylist()
                num_bytes += sum(_size(row) for row in rows)
                files.check_growth(path, name, num_bytes, max_gib)
                yield from rows
    except (pa.ArrowException, OSError) as error:
        cause = str(error).splitlines()[0]
        raise ImportRefused(f"{name} is not a whole Parquet file ({cause}). Download or write it again.") from error


def _batch_size(file: Any, max_gib: float) -> int:
    """Return how many rows to unpack at once: a cell may refer to any text of its row group, so rows can be large."""
    groups = range(file.metadata.num_row_groups)
    largest = max((file.metadata.row_group(i).total_byte_size for i in groups), default=1)
    return max(1, min(_BATCH, int(max_gib * 2**30 / max(1, largest))))


def _size(value: Any) -> int:
    """Return about how many bytes a value takes in memory."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, dict):
        return _BYTES_PER_ROW + sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list) else 0


def _separator(text: str, name: str) -> str:
    """Return the separator by which the header holds the most columns that are read, else the most columns; the comma in doubt."""
    if files.is_type(name, (".tsv", ".tsv.gz")):
        return "\t"
    header = next((line for line in text.splitlines() if line.strip()), "")

    def count(separator: str) -> tuple[int, int]:
        try:
            cells = next(csv.reader([header], delimiter=separator))
        except csv.Error:
            return 0, 0
        return sum(columns.fold(cell) in COLUMNS for cell in cells), len(cells)

    return max(SEPARATORS, key=count)


def _too_wide(name: str, line: int, cells: int, header: int, separator: str) -> ImportRefused:
    return ImportRefused(
        f"{name}, line {line}: has more cells than the header has columns ({cells} and {header}). Nothing was imported; "
        f"put texts with {SEPARATORS.get(separator, repr(separator))} into double quotes."
    )


def _cause(error: csv.Error, begins: int, ends: int) -> str:
    if "unexpected end of data" in str(error):
        return "a double quote opens here and is never closed"
    return f"{error}, in the row that ends in line {ends}" if ends > begins else str(error)
